"""The Docker engine of a node: installed, configured, removed as far as picluster installed it."""

from __future__ import annotations

import errno
import grp
import json
import pwd
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fakedebian import FakeDebian
from fakenode import NOT_FOUND, RUNNING

from ansible_collections.picluster.cloud.plugins.module_utils.docker import apply, rules
from ansible_collections.picluster.cloud.plugins.module_utils.docker.apply import (
    CONFIG,
    DOCKER,
    DOCKERDS,
    PENDING,
    UNIT,
)
from ansible_collections.picluster.cloud.plugins.module_utils.docker.rules import MARK
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.modules.docker_engine import converge

if TYPE_CHECKING:
    from pathlib import Path

LOGS = {"log-driver": "json-file"}
RESTART = ["systemctl reset-failed docker.service", "systemctl restart docker.service"]


class DockerNode(FakeDebian):
    """A node whose package docker.io brings the engine, with the user pi.

    Attributes:
        members: Who is in the group docker.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root, units={UNIT: NOT_FOUND})
        self.path("/run").mkdir(parents=True)
        self.members: set[str] = set()
        self.answers |= {
            "apt-mark showauto": "containerd\n",
            "gpasswd": self.gpasswd,
            f"{DOCKER} version": "28.1\n",
        }
        monkeypatch.setattr(pwd, "getpwall", lambda: [SimpleNamespace(pw_name="pi")])
        monkeypatch.setattr(grp, "getgrnam", lambda _name: SimpleNamespace(gr_mem=sorted(self.members)))

    def gpasswd(self, _program: str, verb: str, user: str, _group: str) -> str:
        (self.members.add if verb == "--add" else self.members.discard)(user)
        return ""

    def has(self, *packages: str) -> None:
        """Have an engine that runs."""
        self.packages |= set(packages)
        self.write(DOCKER, "")
        self.unit_states[UNIT] = dict(RUNNING)

    def apt_get(self, *command: str) -> Outcome:
        outcome = super().apt_get(*command)
        if "install" in command:
            self.has("containerd")
        return outcome

    def converge(self, daemon: dict[str, Any] | None = None, *users: str, state: str = "present") -> bool:
        """Run the module; return whether it reports a restart."""
        self.commands.clear()
        self.diff.clear()
        options = {"state": state, "daemon": daemon or {}, "users": list(users), "lock_timeout": 5}
        return bool(converge(self, options)["restarted"])

    def remove(self) -> None:
        self.converge(state="absent")


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DockerNode:
    return DockerNode(tmp_path, monkeypatch)


@pytest.mark.parametrize("package", ["docker.io", "docker-ce"])
def test_an_engine_that_picluster_never_managed_is_not_touched_by_its_removal(node: DockerNode, package: str) -> None:
    node.has(package)
    node.write(CONFIG, "{}")
    node.members = {"pi"}
    node.remove()
    assert (node.diff, node.commands) == ([], [])
    assert node.path(CONFIG).exists()


def test_what_picluster_installed_is_removed_again_and_a_second_run_changes_nothing(node: DockerNode) -> None:
    assert not node.converge(LOGS, "pi")
    assert {"docker.io", "busybox-static"} <= node.packages
    assert node.members == {"pi"}
    node.converge(LOGS, "pi")
    assert (node.diff, node.actions) == ([], [])
    node.remove()
    assert "systemctl disable --now docker.service docker.socket" in node.actions
    assert not node.packages & {"docker.io", "docker-cli", "containerd"}
    assert not node.members
    assert not node.path(CONFIG).exists()
    assert not node.path(MARK).exists()
    node.remove()
    assert node.diff == []


def test_an_engine_of_another_origin_is_used_and_left_as_it_was_found(node: DockerNode) -> None:
    node.has("docker-ce", "containerd.io")
    node.members = {"pi"}
    node.write(CONFIG, '{"data-root": "/srv"}')
    assert node.converge(LOGS, "pi")
    assert node.packages == {"docker-ce", "containerd.io", "busybox-static", "containerd"}
    assert json.loads(node.text(CONFIG)) == LOGS
    node.remove()
    assert node.actions == RESTART
    assert node.text(CONFIG) == '{"data-root": "/srv"}'
    assert node.members == {"pi"}
    assert "docker-ce" in node.packages


def test_an_engine_of_another_origin_that_does_not_answer_is_refused(node: DockerNode) -> None:
    node.has("docker-ce")
    node.answers[f"{DOCKER} version"] = Outcome(1, err="Cannot connect")
    with pytest.raises(UserError, match=r"does not answer: Cannot connect; it is not Debian's docker.io"):
        node.converge(LOGS)


def test_what_apt_would_replace_is_refused_before_anything_is_touched(node: DockerNode) -> None:
    node.packages = {"podman-docker"}
    with pytest.raises(UserError, match=r"found podman-docker instead of .* no docker.service and no .*docker; c"):
        node.converge(LOGS)
    assert (node.diff, node.actions) == ([], [])


def test_a_run_that_was_killed_amid_the_installation_recognises_its_own_engine(node: DockerNode) -> None:
    node.write(MARK, rules.EngineMark(packages=("docker.io",)).text())
    node.unit_states[UNIT]["LoadState"] = "loaded"
    node.converge(LOGS)
    assert "docker.io" in node.packages


def test_check_mode_reports_everything_and_leaves_no_mark(node: DockerNode) -> None:
    node.check_mode = True
    node.converge(LOGS, "pi")
    named = [entry["after_header"] for entry in node.diff]
    assert named == [MARK, CONFIG, "packages", "group docker", UNIT, UNIT]
    assert node.actions == []
    assert list(node.root.rglob("*")) == [node.path("/run")]


def test_check_mode_foresees_a_restart_only_for_another_configuration(node: DockerNode) -> None:
    node.has("docker.io", "busybox-static")
    node.write(CONFIG, rules.render(LOGS))
    node.check_mode = True
    assert not node.converge(LOGS, "pi")
    assert node.diff
    assert node.converge({}, "pi")


def test_a_restart_that_a_killed_run_did_not_reach_is_made_up_for(node: DockerNode) -> None:
    node.converge(LOGS)
    node.path(PENDING).touch()
    assert node.converge(LOGS)
    assert node.actions == RESTART
    assert not node.converge(LOGS)


def test_a_configuration_that_dockerd_rejects_changes_nothing(node: DockerNode) -> None:
    node.has("docker.io", "busybox-static")
    node.write(DOCKERDS[0], "")
    node.answers[DOCKERDS[0]] = lambda *command: Outcome(1, err=f"file {command[-1]}: unknown option: foo")
    with pytest.raises(UserError, match=f"daemon is rejected by dockerd: file {CONFIG}: unknown option: foo; correct"):
        node.converge({"foo": 1})
    assert (node.diff, node.path(CONFIG).exists()) == ([], False)
    # 20.10 cannot validate.
    node.answers[DOCKERDS[0]] = Outcome(1, err="unknown flag: --validate")
    assert node.converge(LOGS)


@pytest.mark.parametrize("before", ["{}", None])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), UserError("docker.service failed")]
)
def test_a_run_that_fails_midway_gives_the_running_engine_its_configuration_back(
    node: DockerNode, monkeypatch: pytest.MonkeyPatch, before: str | None, error: Exception
) -> None:
    node.has("docker.io", "busybox-static")
    if before is not None:
        node.write(CONFIG, before)

    def fail(_engine: apply.Engine, **_options: object) -> None:
        raise error

    monkeypatch.setattr(apply.Engine, "_run_service", fail)
    with pytest.raises(type(error)) as caught:
        node.converge(LOGS)
    assert caught.value is error
    assert (node.text(CONFIG) if node.path(CONFIG).exists() else None) == before
    assert node.actions == ["systemctl restart docker.service"]
    assert not node.path(PENDING).exists()


def test_an_engine_that_does_not_start_is_reported_with_the_reason_from_its_journal(node: DockerNode) -> None:
    node.answers["systemctl start"] = Outcome(1, err="Job for docker.service failed.")
    node.answers["journalctl"] = "Starting...\nfailed to start daemon: no space\nMain process exited\n"
    node.has("docker.io", "busybox-static")
    node.unit_states[UNIT]["ActiveState"] = "failed"
    with pytest.raises(UserError, match=r"docker.service failed to start: failed to start daemon: no space; see"):
        node.converge(LOGS)


def test_passwords_in_the_settings_are_hidden_and_only_root_may_read_the_file(node: DockerNode) -> None:
    settings = {
        "proxies": {"http-proxy": 'http://me:s3"cret@proxy:3128'},
        "log-opts": {"splunk-token": "t0k", "max-size": "10m"},
        "storage-opts": ["x.password=pw", "y=z"],
    }
    node.converge(settings)
    assert node.module.no_log_values >= {'s3"cret', 's3\\"cret', "t0k", "pw"}
    assert not node.module.no_log_values & {"10m", "z", ""}
    assert node.path(CONFIG).stat().st_mode & 0o777 == 0o600
    assert node.path(MARK).stat().st_mode & 0o777 == 0o600


def test_a_damaged_mark_is_one_sentence() -> None:
    assert rules.read_mark(None) is None
    mark = rules.EngineMark(("docker.io",), ("pi",), "{}")
    assert rules.read_mark(mark.text()) == mark
    with pytest.raises(UserError, match=r"is damaged: .*; delete it"):
        rules.read_mark("[]")


def test_the_same_settings_give_the_same_text_whatever_their_order() -> None:
    assert rules.render({"b": 1, "a": 2}) == rules.render({"a": 2, "b": 1})
    assert json.loads(rules.render({"a": [1]})) == {"a": [1]}


def test_only_users_who_are_not_members_are_added() -> None:
    assert rules.missing_users(["pi", "alice"], {"pi", "alice", "root"}, {"pi"}) == ["alice"]


def test_a_user_who_does_not_exist_on_the_node_is_named_and_nothing_changes(node: DockerNode) -> None:
    with pytest.raises(UserError, match="users contains users that do not exist on this node: bob; create"):
        node.converge(LOGS, "pi", "bob")
    assert (node.diff, node.actions) == ([], [])


def test_the_reason_why_dockerd_failed_is_found_in_its_journal() -> None:
    journal = (
        "Starting docker.service...\n"
        "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives "
        "don't match any configuration option: foo\n"
        "docker.service: Main process exited, code=exited, status=1/FAILURE\n"
    )
    assert rules.cause_of_failure(journal).startswith("unable to configure the Docker daemon with file")
    assert rules.cause_of_failure("Stopped.\n") == ""
