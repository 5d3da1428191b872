# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node becomes a server or an agent once, is repaired after a killed run, and loses k3s without losing data."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.k3s import apply, probe
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.apply import (
    APPLIED,
    IMAGES,
    IMAGES_MARK,
    KUBECONFIG,
    PROBE,
    K3s,
    fingerprint,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import HEADER
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import K3sSettings
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.machine import Capabilities

SERVER = K3sSettings(
    "server",
    "v1.36.4+k3s1",
    "10.0.0.1",
    "red1",
    "10.0.0.1",
    "server-secret-0123456789",
    "agent-secret-0123456789",
    sha256="a" * 64,
)
AGENT = replace(SERVER, role="agent", node_name="red2", node_address="10.0.0.2")
NONE = replace(SERVER, role="none", server_address="")


@dataclass(frozen=True)
class Run:
    """What one call did."""

    changed: bool
    restarted: bool
    diff: list[dict[str, str]]
    commands: list[str]


class Lab:
    """A node of a test, with its services as they were left by the last call."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.ended = 0
        self.units: dict[str, dict[str, str]] = {}
        self._monkeypatch = monkeypatch
        FakeNode(root).write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu memory pids\n")
        self.binary("v1.36.4+k3s1")

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def binary(self, version: str) -> None:
        FakeNode(self.root).write(f"/usr/local/bin/k3s-{version}", "#!")

    def install(
        self,
        settings: K3sSettings = AGENT,
        *,
        check_mode: bool = False,
        image: bytes | None = b"image",
        images: bool = False,
    ) -> Run:
        self._monkeypatch.setattr(probe, "build", lambda: image)
        return self._converge(replace(settings, images=images), check_mode=check_mode)

    def remove(self, *, check_mode: bool = False, pods: bool = False) -> Run:
        lab = self

        class Pods:
            def __init__(self, _node: FakeNode) -> None:
                pass

            def left(self) -> bool:
                return pods

            def end(self) -> None:
                lab.ended += 1

        self._monkeypatch.setattr(apply, "Pods", Pods)
        return self._converge(NONE, check_mode=check_mode)

    def _converge(self, settings: K3sSettings, *, check_mode: bool) -> Run:
        node = FakeNode(self.root, check_mode=check_mode, units=self.units)
        k3s = K3s(node)
        k3s.converge(settings)
        self.units = node.unit_states
        return Run(node.changed, k3s.restarted, node.diff, node.actions)

    def snapshot(self) -> dict[str, Any]:
        return {
            f"/{path.relative_to(self.root)}": (
                path.lstat().st_mode,
                path.readlink() if path.is_symlink() else path.read_bytes(),
            )
            for path in sorted(self.root.rglob("*"))
            if (path.is_symlink() or path.is_file()) and path.relative_to(self.root).parts[0] != "sys"
        }


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, monkeypatch)


def test_agent_is_installed_enabled_and_started_without_waiting(lab: Lab) -> None:
    run = lab.install()
    assert run.changed
    assert run.commands == [
        "systemctl daemon-reload",
        "systemctl enable k3s-agent.service",
        "systemctl restart --no-block k3s-agent.service",
    ]
    for name in ("k3s", "kubectl", "crictl", "ctr"):
        assert (lab.path("/usr/local/bin") / name).readlink() == Path("k3s-v1.36.4+k3s1")
    for name in ("config.yaml", "agent-token"):
        assert (lab.path("/etc/rancher/k3s") / name).stat().st_mode & 0o777 == 0o600


def test_second_run_changes_nothing(lab: Lab) -> None:
    lab.install()
    before = lab.snapshot()
    run = lab.install()
    assert not run.changed
    assert not run.restarted
    assert run.commands == []
    assert lab.snapshot() == before


def test_check_mode_changes_nothing_and_says_the_same(lab: Lab) -> None:
    before = lab.snapshot()
    foreseen = lab.install(check_mode=True)
    assert lab.snapshot() == before
    assert foreseen.commands == []
    assert foreseen.changed
    assert foreseen.diff == lab.install().diff


def test_check_mode_needs_no_binary_but_a_run_does(lab: Lab) -> None:
    lab.path("/usr/local/bin/k3s-v1.36.4+k3s1").unlink()
    lab.install(check_mode=True)
    with pytest.raises(UserError, match=r"k3s-v1\.36\.4\+k3s1 is missing"):
        lab.install()


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
    settings = replace(AGENT, **change)
    assert lab.install(settings).restarted
    assert not lab.install(settings).changed


def test_new_version_moves_the_links_and_restarts(lab: Lab) -> None:
    lab.install()
    lab.binary("v1.37.1+k3s1")
    assert lab.install(replace(AGENT, version="v1.37.1+k3s1")).restarted
    assert lab.path("/usr/local/bin/k3s").readlink() == Path("k3s-v1.37.1+k3s1")
    assert lab.path("/usr/local/bin/k3s-v1.36.4+k3s1").exists()


def test_run_killed_before_its_restart_is_mended(lab: Lab) -> None:
    lab.install()
    settings = replace(AGENT, config={"disable": ["traefik"]})
    applied = lab.path(APPLIED).read_text()
    lab.install(settings)
    lab.path(APPLIED).write_text(applied)  # as if the run had ended between the files and the restart
    assert lab.install(settings).restarted


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_service_that_stopped_is_started(lab: Lab, state: str) -> None:
    lab.install()
    lab.units["k3s-agent.service"]["ActiveState"] = state
    assert lab.install().restarted


def test_agent_that_still_waits_for_its_server_is_left_alone(lab: Lab) -> None:
    lab.install()
    lab.units["k3s-agent.service"]["ActiveState"] = "activating"
    assert not lab.install().changed


def test_disabled_service_is_enabled_again(lab: Lab) -> None:
    lab.install()
    lab.units["k3s-agent.service"]["UnitFileState"] = "disabled"
    run = lab.install()
    assert run.commands == ["systemctl enable k3s-agent.service"]
    assert run.changed
    assert not run.restarted


def test_unit_that_was_changed_beside_us_is_read_again(lab: Lab) -> None:
    lab.install()
    lab.units["k3s-agent.service"]["NeedDaemonReload"] = "yes"
    assert lab.install().restarted
    assert not lab.install().changed


def test_loose_mode_of_a_secret_is_corrected_and_secrets_never_show(lab: Lab) -> None:
    lab.install(SERVER)
    token = lab.path("/etc/rancher/k3s/server-token")
    token.chmod(0o644)
    run = lab.install(SERVER)
    assert token.stat().st_mode & 0o777 == 0o600
    again = lab.install(replace(SERVER, token="another-secret-0123456789"))
    shown = next(entry for entry in again.diff if entry["after_header"] == "/etc/rancher/k3s/server-token")
    assert (shown["before"], shown["after"]) == ("(hidden)\n", "(hidden, another)\n")
    assert "secret-0123456789" not in str([*run.diff, *again.diff])


def test_server_becomes_agent(lab: Lab) -> None:
    lab.install(SERVER)
    foreseen = lab.install(replace(SERVER, role="agent", server_address="10.0.0.9"), check_mode=True)
    run = lab.install(replace(SERVER, role="agent", server_address="10.0.0.9"))
    assert run.restarted
    assert foreseen.diff == run.diff
    assert run.commands[0] == "systemctl disable --now k3s.service"
    assert not lab.path("/etc/systemd/system/k3s.service").exists()
    assert not lab.path("/etc/rancher/k3s/server-token").exists()
    assert lab.path("/etc/systemd/system/k3s-agent.service").exists()
    assert not lab.install(replace(SERVER, role="agent", server_address="10.0.0.9")).changed


def test_former_server_does_not_keep_the_admins_keys(lab: Lab) -> None:
    lab.install(SERVER)
    lab.path(KUBECONFIG).write_text("admin's keys")
    assert not lab.install(SERVER).changed
    lab.install(replace(SERVER, role="agent", server_address="10.0.0.9"))
    assert not lab.path(KUBECONFIG).exists()


@pytest.mark.parametrize("leave", ["unwanted", "none"])
def test_airgap_images_go_when_they_are_not_wanted_any_more(lab: Lab, leave: str) -> None:
    images = lab.path(IMAGES)
    images.parent.mkdir(parents=True)
    images.write_text("images")
    lab.install(images=True)
    assert not lab.install(images=True).changed
    assert lab.install(images=False, check_mode=True).changed
    assert images.exists()
    run = lab.install(images=False) if leave == "unwanted" else lab.remove()
    assert run.changed
    assert not run.restarted
    assert not images.exists()
    assert not lab.path(IMAGES_MARK).exists()


def test_airgap_images_of_somebody_else_stay(lab: Lab) -> None:
    images = lab.path(IMAGES)
    images.parent.mkdir(parents=True)
    images.write_text("images")
    lab.install()
    lab.remove()
    assert images.read_text() == "images"


def test_of_the_releases_the_running_and_the_previous_are_kept(lab: Lab) -> None:
    programs = lab.path("/usr/local/bin")
    for age, version in ((300, "v1.34.9+k3s1"), (200, "v1.35.2+k3s1"), (100, "v1.36.4+k3s1"), (0, "v1.37.1+k3s1")):
        lab.binary(version)
        os.utime(programs / f"k3s-{version}", (1_800_000_000 - age,) * 2)
    settings = replace(AGENT, version="v1.37.1+k3s1")
    foreseen = lab.install(settings, check_mode=True)
    assert len(list(programs.glob("k3s-v*"))) == 4
    assert foreseen.diff == lab.install(settings).diff
    assert sorted(path.name for path in programs.glob("k3s-v*")) == ["k3s-v1.36.4+k3s1", "k3s-v1.37.1+k3s1"]
    assert not lab.install(settings).changed
    lab.install(AGENT)  # back to the previous one
    assert sorted(path.name for path in programs.glob("k3s-v*")) == ["k3s-v1.36.4+k3s1", "k3s-v1.37.1+k3s1"]
    lab.binary("v1.38.0+k3s1")
    lab.install(replace(AGENT, version="v1.38.0+k3s1"))  # the running one is older than the one it came back from
    assert sorted(path.name for path in programs.glob("k3s-v*")) == ["k3s-v1.36.4+k3s1", "k3s-v1.38.0+k3s1"]


def test_none_on_a_node_that_never_had_it_runs_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "Pods", lambda _: pytest.fail("looked for pods"))
    node = FakeNode(tmp_path)
    K3s(node).converge(NONE)
    assert not node.changed
    assert node.commands == []


def test_none_removes_software_and_pods_and_keeps_data(lab: Lab) -> None:
    lab.install(SERVER)
    data = lab.path("/var/lib/rancher/k3s/server/db/state.db")
    password = lab.path("/etc/rancher/node/password")
    for path in (data, password, lab.path("/etc/rancher/k3s/k3s.yaml")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    run = lab.remove(pods=True)
    assert run.changed
    assert lab.ended == 1
    assert set(lab.snapshot()) == {"/var/lib/rancher/k3s/server/db/state.db", "/etc/rancher/node/password"}
    assert not lab.remove().changed


def test_none_in_check_mode_changes_nothing(lab: Lab) -> None:
    lab.install()
    before = lab.snapshot()
    foreseen = lab.remove(check_mode=True, pods=True)
    assert foreseen.changed
    assert lab.ended == 0
    assert foreseen.commands == []
    assert lab.snapshot() == before
    assert foreseen.diff == lab.remove(pods=True).diff


def test_removal_that_was_killed_is_taken_up_again(lab: Lab) -> None:
    lab.install()
    lab.remove()
    lab.path(APPLIED).write_text("x")
    assert lab.remove(pods=True).changed
    assert lab.ended == 1


def test_somebody_elses_k3s_is_neither_replaced_nor_removed(lab: Lab) -> None:
    lab.path("/usr/local/bin/k3s-v1.36.4+k3s1").rename(lab.path("/usr/local/bin/k3s"))
    lab.binary("v1.36.4+k3s1")
    with pytest.raises(UserError, match="installed by other means"):
        lab.install()
    lab.path("/usr/local/bin/k3s-v1.36.4+k3s1").unlink()
    assert not lab.remove().changed
    assert lab.path("/usr/local/bin/k3s").exists()


def foreign(lab: Lab, service: str) -> dict[str, Any]:
    """What k3s's install.sh leaves: its own unit, the program, and links to it."""
    programs, unit = lab.path("/usr/local/bin"), lab.path(f"/etc/systemd/system/{service}.service")
    (programs / "k3s-v1.36.4+k3s1").unlink()
    (programs / "k3s").write_text("theirs")
    for name in ("kubectl", "crictl", "ctr"):
        (programs / name).symlink_to("k3s")
    for path in (unit, lab.path("/etc/rancher/k3s/config.yaml"), lab.path("/etc/rancher/k3s/k3s.yaml")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[Unit]\nDescription=theirs\n")
    return lab.snapshot()


@pytest.mark.parametrize("service", ["k3s", "k3s-agent"])
def test_k3s_of_its_own_installer_is_left_alone_by_none(lab: Lab, service: str) -> None:
    before = foreign(lab, service)
    run = lab.remove(pods=True)
    assert not run.changed
    assert lab.ended == 0
    assert run.commands == []
    assert lab.snapshot() == before


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("service", ["k3s", "k3s-agent"])
@pytest.mark.parametrize("settings", [SERVER, AGENT], ids=["server", "agent"])
def test_k3s_of_its_own_installer_is_refused_before_anything_changes(
    lab: Lab, settings: K3sSettings, service: str, *, check_mode: bool
) -> None:
    foreign(lab, service)
    lab.binary("v1.36.4+k3s1")
    before = lab.snapshot()
    with pytest.raises(UserError, match=rf"^/etc/systemd/system/{service}\.service was installed by other means"):
        lab.install(settings, check_mode=check_mode)
    assert lab.units == {}
    assert lab.snapshot() == before


def test_of_two_only_our_own_unit_goes(lab: Lab) -> None:
    lab.install()
    for name in ("k3s", "kubectl", "crictl", "ctr"):
        (lab.path("/usr/local/bin") / name).unlink()
    foreign(lab, "k3s")
    before = lab.snapshot()
    run = lab.remove(pods=True)
    assert lab.ended == 0
    assert run.commands == ["systemctl disable --now k3s-agent.service", "systemctl daemon-reload"]
    assert set(before) - set(lab.snapshot()) == {"/etc/systemd/system/k3s-agent.service"}
    assert not lab.remove(pods=True).changed


def test_release_linked_by_another_installer_is_not_ours(lab: Lab) -> None:
    lab.path("/usr/local/bin/k3s").symlink_to("/usr/local/bin/k3s-v1.36.4+k3s1")
    before = lab.snapshot()
    assert not lab.remove(pods=True).changed
    with pytest.raises(UserError, match=r"^/usr/local/bin/k3s was installed by other means"):
        lab.install()
    assert lab.snapshot() == before


def test_somebody_elses_kubectl_and_registries_are_left_alone(lab: Lab) -> None:
    kubectl, registries = lab.path("/usr/local/bin/kubectl"), lab.path("/etc/rancher/k3s/registries.yaml")
    registries.parent.mkdir(parents=True)
    for path in (kubectl, registries):
        path.write_text("mine")
    lab.install()
    assert not lab.install().changed
    lab.remove()
    assert kubectl.read_text() == registries.read_text() == "mine"


def test_registries_come_and_go(lab: Lab) -> None:
    path = lab.path("/etc/rancher/k3s/registries.yaml")
    lab.install(replace(AGENT, registries={"mirrors": {"docker.io": {}}}))
    assert path.read_text().startswith(HEADER)
    assert lab.install().restarted
    assert not path.exists()


def test_probe_image_comes_and_goes_without_a_restart(lab: Lab) -> None:
    lab.install(image=None)
    run = lab.install(image=b"image")
    assert lab.path(PROBE).read_bytes() == b"image"
    assert run.changed
    assert not run.restarted
    lab.install(image=None)
    assert not lab.path(PROBE).exists()


def test_fingerprint_depends_on_the_binary() -> None:
    other = replace(AGENT, sha256="b" * 64)
    assert fingerprint(AGENT, Capabilities()) != fingerprint(other, Capabilities())
