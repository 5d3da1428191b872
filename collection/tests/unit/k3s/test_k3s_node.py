# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.apply import (
    APPLIED,
    IMAGES,
    IMAGES_MARK,
    KUBECONFIG,
    PROBE,
    Host,
    fingerprint,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import HEADER, Machine, SettingsError, Wish
from ansible_collections.picluster.cloud.plugins.modules.k3s_node import read_wish, skipped

SERVER = Wish(
    "server", "v1.36.4+k3s1", "10.0.0.1", "red1", "10.0.0.1", "server-secret-0123456789", "agent-secret-0123456789"
)
AGENT = replace(SERVER, role="agent", node_name="red2", node_address="10.0.0.2")
SHA = "a" * 64


class Systemd:
    """Keeps the state of units as systemd would, and notes every command."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.units: dict[str, dict[str, str]] = {}

    def __call__(self, *command: str) -> str:
        verb = next(word for word in command[1:] if not word.startswith("--"))
        unit = command[-1]
        state = self.units.setdefault(unit, {"ActiveState": "inactive", "UnitFileState": "disabled"})
        if verb == "show":
            return "".join(f"{key}={value}\n" for key, value in state.items()) + "NeedDaemonReload=no\n"
        self.commands.append(" ".join(command[1:]))
        if verb == "enable":
            state["UnitFileState"] = "enabled"
        if verb == "disable":
            state |= {"UnitFileState": "disabled", "ActiveState": "inactive"}
        if verb == "restart":
            state["ActiveState"] = "activating"
        return ""


class Lab:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.systemd = Systemd()
        self.ended = 0
        self.binary("v1.36.4+k3s1")

    def binary(self, version: str) -> None:
        path = self.root / f"usr/local/bin/k3s-{version}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!")

    def host(self, *, check_mode: bool = False) -> Host:
        self.systemd.commands.clear()
        return Host(self.root, self.systemd, check_mode=check_mode)

    def install(
        self,
        wish: Wish = AGENT,
        *,
        check_mode: bool = False,
        image: bytes | None = b"image",
        images: bool = False,
    ) -> Host:
        host = self.host(check_mode=check_mode)
        host.install(wish, Machine(), SHA, image, images=images)
        return host

    def remove(self, *, check_mode: bool = False, pods: bool = False) -> Host:
        host = self.host(check_mode=check_mode)

        def end() -> None:
            self.ended += 1

        host.remove(pods_left=lambda: pods, end_pods=end)
        return host

    def snapshot(self) -> dict[str, Any]:
        return {
            str(path.relative_to(self.root)): (
                path.lstat().st_mode,
                path.readlink() if path.is_symlink() else path.read_bytes(),
            )
            for path in sorted(self.root.rglob("*"))
            if path.is_symlink() or path.is_file()
        }


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_agent_is_installed_enabled_and_started_without_waiting(lab: Lab) -> None:
    host = lab.install()
    assert host.changed
    assert lab.systemd.commands == ["daemon-reload", "enable k3s-agent.service", "--no-block restart k3s-agent.service"]
    for name in ("k3s", "kubectl", "crictl", "ctr"):
        assert (lab.root / "usr/local/bin" / name).readlink() == Path("k3s-v1.36.4+k3s1")
    for name in ("config.yaml", "agent-token"):
        assert (lab.root / "etc/rancher/k3s" / name).stat().st_mode & 0o777 == 0o600


def test_second_run_changes_nothing(lab: Lab) -> None:
    lab.install()
    before = lab.snapshot()
    host = lab.install()
    assert not host.changed
    assert not host.restarted
    assert lab.systemd.commands == []
    assert lab.snapshot() == before


def test_check_mode_changes_nothing_and_says_the_same(lab: Lab) -> None:
    before = lab.snapshot()
    foreseen = lab.install(check_mode=True)
    assert lab.snapshot() == before
    assert lab.systemd.commands == []
    assert foreseen.changed
    assert foreseen.diff == lab.install().diff


def test_check_mode_needs_no_binary_but_a_run_does(tmp_path: Path) -> None:
    Host(tmp_path, Systemd(), check_mode=True).install(AGENT, Machine(), "", None)
    with pytest.raises(SettingsError, match=r"k3s-v1\.36\.4\+k3s1 is missing"):
        Host(tmp_path, Systemd()).install(AGENT, Machine(), "", None)


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"disable": ["traefik"]}},
        {"agent_token": "another-secret-0123456789"},
        {"registries": {"mirrors": {}}},
        {"limit_nofile": 4096},
        {"containerd_template": "x"},
    ],
)
def test_changed_input_restarts_once(lab: Lab, change: dict[str, Any]) -> None:
    lab.install()
    wish = replace(AGENT, **change)
    assert lab.install(wish).restarted
    assert not lab.install(wish).changed


def test_new_version_moves_the_links_and_restarts(lab: Lab) -> None:
    lab.install()
    lab.binary("v1.37.1+k3s1")
    assert lab.install(replace(AGENT, version="v1.37.1+k3s1")).restarted
    assert (lab.root / "usr/local/bin/k3s").readlink() == Path("k3s-v1.37.1+k3s1")
    assert (lab.root / "usr/local/bin/k3s-v1.36.4+k3s1").exists()


def test_run_killed_before_its_restart_is_mended(lab: Lab) -> None:
    lab.install()
    wish = replace(AGENT, config={"disable": ["traefik"]})
    applied = (lab.root / APPLIED).read_text()
    lab.install(wish)
    (lab.root / APPLIED).write_text(applied)  # as if the run had ended between the files and the restart
    assert lab.install(wish).restarted


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_service_that_stopped_is_started(lab: Lab, state: str) -> None:
    lab.install()
    lab.systemd.units["k3s-agent.service"]["ActiveState"] = state
    assert lab.install().restarted


def test_agent_that_still_waits_for_its_server_is_left_alone(lab: Lab) -> None:
    lab.install()
    assert lab.systemd.units["k3s-agent.service"]["ActiveState"] == "activating"
    assert not lab.install().changed


def test_disabled_service_is_enabled_again(lab: Lab) -> None:
    lab.install()
    lab.systemd.units["k3s-agent.service"]["UnitFileState"] = "disabled"
    lab.install()
    assert "enable k3s-agent.service" in lab.systemd.commands


def test_loose_mode_of_a_secret_is_corrected_and_secrets_never_show(lab: Lab) -> None:
    lab.install(SERVER)
    token = lab.root / "etc/rancher/k3s/server-token"
    token.chmod(0o644)
    host = lab.install(SERVER)
    assert token.stat().st_mode & 0o777 == 0o600
    again = lab.install(replace(SERVER, token="another-secret-0123456789"))
    for shown in [*host.diff, *again.diff]:
        assert "secret-0123456789" not in str(shown)


def test_server_becomes_agent(lab: Lab) -> None:
    lab.install(SERVER)
    host = lab.install(replace(SERVER, role="agent", server_address="10.0.0.9"))
    assert host.restarted
    assert lab.systemd.commands[0] == "disable --now k3s.service"
    assert not (lab.root / "etc/systemd/system/k3s.service").exists()
    assert not (lab.root / "etc/rancher/k3s/server-token").exists()
    assert (lab.root / "etc/systemd/system/k3s-agent.service").exists()
    assert not lab.install(replace(SERVER, role="agent", server_address="10.0.0.9")).changed


def test_former_server_does_not_keep_the_admins_keys(lab: Lab) -> None:
    lab.install(SERVER)
    (lab.root / KUBECONFIG).write_text("admin's keys")
    assert not lab.install(SERVER).changed
    lab.install(replace(SERVER, role="agent", server_address="10.0.0.9"))
    assert not (lab.root / KUBECONFIG).exists()


@pytest.mark.parametrize("leave", ["unwanted", "none"])
def test_airgap_images_go_when_they_are_not_wanted_any_more(lab: Lab, leave: str) -> None:
    images = lab.root / IMAGES
    images.parent.mkdir(parents=True)
    images.write_text("images")
    lab.install(images=True)
    assert not lab.install(images=True).changed
    assert lab.install(images=False, check_mode=True).changed
    assert images.exists()
    host = lab.install(images=False) if leave == "unwanted" else lab.remove()
    assert host.changed
    assert not host.restarted
    assert not images.exists()
    assert not (lab.root / IMAGES_MARK).exists()


def test_airgap_images_of_somebody_else_stay(lab: Lab) -> None:
    images = lab.root / IMAGES
    images.parent.mkdir(parents=True)
    images.write_text("images")
    lab.install()
    lab.remove()
    assert images.read_text() == "images"


def test_of_the_releases_the_running_and_the_previous_are_kept(lab: Lab) -> None:
    programs = lab.root / "usr/local/bin"
    for age, version in ((300, "v1.34.9+k3s1"), (200, "v1.35.2+k3s1"), (100, "v1.36.4+k3s1"), (0, "v1.37.1+k3s1")):
        lab.binary(version)
        os.utime(programs / f"k3s-{version}", (1_800_000_000 - age,) * 2)
    wish = replace(AGENT, version="v1.37.1+k3s1")
    foreseen = lab.install(wish, check_mode=True)
    assert len(list(programs.glob("k3s-v*"))) == 4
    assert foreseen.diff == lab.install(wish).diff
    assert sorted(path.name for path in programs.glob("k3s-v*")) == ["k3s-v1.36.4+k3s1", "k3s-v1.37.1+k3s1"]
    assert not lab.install(wish).changed
    lab.install(AGENT)  # back to the previous one
    assert sorted(path.name for path in programs.glob("k3s-v*")) == ["k3s-v1.36.4+k3s1", "k3s-v1.37.1+k3s1"]
    lab.binary("v1.38.0+k3s1")
    lab.install(replace(AGENT, version="v1.38.0+k3s1"))  # the running one is older than the one it came back from
    assert sorted(path.name for path in programs.glob("k3s-v*")) == ["k3s-v1.36.4+k3s1", "k3s-v1.38.0+k3s1"]


def test_none_on_a_node_that_never_had_it_asks_systemd_nothing(tmp_path: Path) -> None:
    systemd = Systemd()
    host = Host(tmp_path, systemd)
    host.remove(pods_left=lambda: pytest.fail("asked for pods"), end_pods=lambda: pytest.fail("ended pods"))
    assert not host.changed
    assert systemd.commands == []
    assert systemd.units == {}


def test_none_removes_software_and_pods_and_keeps_data(lab: Lab) -> None:
    lab.install(SERVER)
    data = lab.root / "var/lib/rancher/k3s/server/db/state.db"
    password = lab.root / "etc/rancher/node/password"
    for path in (data, password, lab.root / "etc/rancher/k3s/k3s.yaml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    host = lab.remove(pods=True)
    assert host.changed
    assert lab.ended == 1
    assert set(lab.snapshot()) == {"var/lib/rancher/k3s/server/db/state.db", "etc/rancher/node/password"}
    assert not lab.remove().changed


def test_none_in_check_mode_changes_nothing(lab: Lab) -> None:
    lab.install()
    before = lab.snapshot()
    host = lab.remove(check_mode=True, pods=True)
    assert host.changed
    assert lab.ended == 0
    assert lab.systemd.commands == []
    assert lab.snapshot() == before


def test_removal_that_was_killed_is_taken_up_again(lab: Lab) -> None:
    lab.install()
    lab.remove()
    (lab.root / APPLIED).write_text("x")
    assert lab.remove(pods=True).changed
    assert lab.ended == 1


def test_somebody_elses_k3s_is_neither_replaced_nor_removed(lab: Lab) -> None:
    (lab.root / "usr/local/bin/k3s-v1.36.4+k3s1").rename(lab.root / "usr/local/bin/k3s")
    lab.binary("v1.36.4+k3s1")
    with pytest.raises(SettingsError, match="installed by other means"):
        lab.install()
    (lab.root / "usr/local/bin/k3s-v1.36.4+k3s1").unlink()
    assert not lab.remove().changed
    assert (lab.root / "usr/local/bin/k3s").exists()


def foreign(lab: Lab, service: str) -> dict[str, Any]:
    """What k3s's install.sh leaves: its own unit, the program, and links to it."""
    programs, unit = lab.root / "usr/local/bin", lab.root / f"etc/systemd/system/{service}.service"
    (programs / "k3s-v1.36.4+k3s1").unlink()
    (programs / "k3s").write_text("theirs")
    for name in ("kubectl", "crictl", "ctr"):
        (programs / name).symlink_to("k3s")
    for path in (unit, lab.root / "etc/rancher/k3s/config.yaml", lab.root / "etc/rancher/k3s/k3s.yaml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[Unit]\nDescription=theirs\n")
    return lab.snapshot()


@pytest.mark.parametrize("service", ["k3s", "k3s-agent"])
def test_k3s_of_its_own_installer_is_left_alone_by_none(lab: Lab, service: str) -> None:
    before = foreign(lab, service)
    host = lab.remove(pods=True)
    assert not host.changed
    assert lab.ended == 0
    assert lab.systemd.commands == []
    assert lab.snapshot() == before


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("service", ["k3s", "k3s-agent"])
@pytest.mark.parametrize("wish", [SERVER, AGENT], ids=["server", "agent"])
def test_k3s_of_its_own_installer_is_refused_before_anything_changes(
    lab: Lab, wish: Wish, service: str, *, check_mode: bool
) -> None:
    foreign(lab, service)
    lab.binary("v1.36.4+k3s1")
    before = lab.snapshot()
    with pytest.raises(SettingsError, match=rf"^/etc/systemd/system/{service}\.service was installed by other means"):
        lab.install(wish, check_mode=check_mode)
    assert lab.systemd.commands == []
    assert lab.snapshot() == before


def test_of_two_only_our_own_unit_goes(lab: Lab) -> None:
    lab.install()
    for name in ("k3s", "kubectl", "crictl", "ctr"):
        (lab.root / "usr/local/bin" / name).unlink()
    foreign(lab, "k3s")
    before = lab.snapshot()
    lab.remove(pods=True)
    assert lab.ended == 0
    assert lab.systemd.commands == ["disable --now k3s-agent.service", "daemon-reload"]
    assert set(before) - set(lab.snapshot()) == {"etc/systemd/system/k3s-agent.service"}
    assert not lab.remove(pods=True).changed


def test_release_linked_by_another_installer_is_not_ours(lab: Lab) -> None:
    (lab.root / "usr/local/bin/k3s").symlink_to("/usr/local/bin/k3s-v1.36.4+k3s1")
    before = lab.snapshot()
    assert not lab.remove(pods=True).changed
    with pytest.raises(SettingsError, match=r"^/usr/local/bin/k3s was installed by other means"):
        lab.install()
    assert lab.snapshot() == before


def test_somebody_elses_kubectl_and_registries_are_left_alone(lab: Lab) -> None:
    kubectl, registries = lab.root / "usr/local/bin/kubectl", lab.root / "etc/rancher/k3s/registries.yaml"
    registries.parent.mkdir(parents=True)
    for path in (kubectl, registries):
        path.write_text("mine")
    lab.install()
    assert not lab.install().changed
    lab.remove()
    assert kubectl.read_text() == registries.read_text() == "mine"


def test_registries_come_and_go(lab: Lab) -> None:
    path = lab.root / "etc/rancher/k3s/registries.yaml"
    lab.install(replace(AGENT, registries={"mirrors": {"docker.io": {}}}))
    assert path.read_text().startswith(HEADER)
    assert lab.install().restarted
    assert not path.exists()


def test_probe_image_comes_and_goes_without_a_restart(lab: Lab) -> None:
    lab.install(image=None)
    host = lab.install(image=b"image")
    assert (lab.root / PROBE).read_bytes() == b"image"
    assert host.changed
    assert not host.restarted
    lab.install(image=None)
    assert not (lab.root / PROBE).exists()


def test_fingerprint_depends_on_the_binary() -> None:
    assert fingerprint(AGENT, Machine(), SHA) != fingerprint(AGENT, Machine(), "b" * 64)


def test_skipped_node_is_never_ok() -> None:
    assert skipped("red1")["picluster_status"] == [
        {"node": "red1", "layer": "k3s", "state": "skipped", "detail": "no artifact"}
    ]


def test_options_are_checked_only_where_k3s_is_wanted() -> None:
    params: dict[str, Any] = {
        "role": "none",
        "artifact": {},
        "server_address": "",
        "node_name": "",
        "node_address": "",
        "token": "",
        "agent_token": "",
        "config": "",
        "registries": "",
        "containerd_template": "",
        "limit_nofile": 1,
    }
    assert read_wish(params).role == "none"
    with pytest.raises(SettingsError, match="k3s_version"):
        read_wish(params | {"role": "agent"})
    with pytest.raises(SettingsError, match="k3s_limit_nofile is 0"):
        read_wish(params | {"limit_nofile": 0})
    for wrong in ('["hunter2"]', "hunter2"):
        with pytest.raises(SettingsError, match=r"^k3s_registries is not a mapping") as raised:
            read_wish(params | {"registries": wrong})
        assert "hunter2" not in str(raised.value)
