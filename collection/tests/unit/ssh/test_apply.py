"""Access to a node: armed before the change, verified before the reload, rolled back at once on a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakesshd import KEY, KEYS, SshNode

from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import Connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.apply import MODULI, Access
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.daemon import DROPIN
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import ED25519_KEY, RSA_KEY
from ansible_collections.picluster.cloud.plugins.modules import sshd_policy as module

if TYPE_CHECKING:
    from pathlib import Path

RELOAD = "systemctl try-reload-or-restart ssh.service"
PI = {"pi": {"keys": [KEY], "sudo": True}}
MODULUS = "20230101000000 2 6 100 {} 2 FFFF\n"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SshNode:
    """Return a stock node: one user with a key, and a host key."""
    node = SshNode(tmp_path, monkeypatch, "pi")
    node.write_key("pi")
    node.write(ED25519_KEY, "secret", 0o600)
    return node


def options(**more: Any) -> dict[str, Any]:
    defaults = {name: option.get("default") for name, option in module.OPTIONS.items()}
    return {**defaults, "user": "pi", "confirm_token": "0" * 16, **more}


def converge(node: SshNode, **more: Any) -> dict[str, Any]:
    """Make one call of the module."""
    node.diff.clear()
    node.commands.clear()
    return Access(node, node.guard, options(**more), Connection("10.0.0.9", "10.0.0.11")).converge()


def acts(node: SshNode) -> list[str]:
    """Return what changed the node."""
    return [command for command in node.actions if not command.startswith(("/usr/sbin/sshd", "ssh -", "sudo"))]


def test_it_is_armed_before_the_change_and_reloaded_after_it(node: SshNode) -> None:
    answer = converge(node, settings={"MaxAuthTries": 2})
    assert acts(node) == ["arm", RELOAD]
    assert answer["reloaded"]
    assert answer["confirm"] == {"name": "test", "token": "0" * 16, "within": 60}
    assert answer["effective"]["maxauthtries"] == ["2"]
    assert answer["effective"]["persourcepenaltyexemptlist"] == ["10.0.0.9"]
    assert "PasswordAuthentication no\n" in node.text(DROPIN)
    assert (node.guard.files, node.guard.restore) == ([DROPIN], [RELOAD.split()])
    assert node.changed


@pytest.mark.parametrize("operators", [{}, PI])
def test_a_second_call_arms_nothing_and_changes_nothing(node: SshNode, operators: dict[str, Any]) -> None:
    converge(node, operators=operators)
    node.guard.confirm()
    answer = converge(node, operators=operators)
    assert acts(node) == []
    assert not node.changed
    assert not answer["reloaded"]
    assert "confirm" not in answer
    assert answer["effective"]["usepam"] == ["yes"]


def test_check_mode_reports_everything_and_does_nothing(node: SshNode) -> None:
    node.check_mode = True
    node.path(ED25519_KEY).unlink()
    answer = converge(node, operators={**PI, "alice": {"keys": [KEY]}})
    assert acts(node) == []
    assert (answer["reloaded"], "confirm" in answer) == (False, False)
    assert [entry["before_header"].partition(" (")[0] for entry in node.diff] == [
        "accounts",
        "host keys",
        KEYS.format("pi"),
        "/etc/sudoers.d/picluster-pi",
        KEYS.format("alice"),
        "members of picluster-ssh",
        DROPIN,
    ]
    assert not node.path(DROPIN).exists()
    assert node.text(KEYS.format("pi")) == f"{KEY}\n"


@pytest.mark.parametrize("restoring", [False, True])
def test_a_change_that_a_killed_run_left_unproven_is_proven(node: SshNode, *, restoring: bool) -> None:
    converge(node)
    node.guard.restoring = restoring
    answer = converge(node)
    # An interrupted restore ends before anything is planned, so the drop-in is written again.
    assert acts(node) == [*(["undo"] if restoring else []), "arm", RELOAD]
    assert node.guard.files == ([DROPIN] if restoring else [])
    assert answer["confirm"]
    assert node.changed


@pytest.mark.parametrize(("again", "restoring"), [(False, False), (True, False), (True, True)])
def test_a_rollback_restores_the_members_from_before_the_first_arming(
    node: SshNode, *, again: bool, restoring: bool
) -> None:
    node.members = ["alice", "pi"]
    node.guard.armed, node.guard.restoring = again, restoring
    converge(node, operators=PI)
    # An arming that is kept has them already; after a restore there is none.
    before = [] if again and not restoring else [["gpasswd", "--members", "alice,pi", "picluster-ssh"]]
    assert node.guard.restore == [*before, RELOAD.split()]
    assert node.guard.at_boot == before


def test_a_member_who_is_no_operator_is_removed(node: SshNode) -> None:
    converge(node, operators=PI)
    node.guard.confirm()
    node.members = ["eve", "pi"]
    assert converge(node, operators=PI)["confirm"]
    assert node.members == ["pi"]


def test_members_change_after_their_files_so_that_a_killed_run_is_carried_on(node: SshNode) -> None:
    node._useradd("alice")
    keys = node.write_key("alice")
    node.members = ["alice", "pi"]
    seen: list[tuple[bool, bool]] = []

    def admit(*_: str) -> str:
        seen.append((keys.exists(), node.path(DROPIN).exists()))
        node.members = ["pi"]
        return ""

    node.answers["gpasswd"] = admit
    converge(node, operators=PI)
    assert seen == [(False, False)]


@pytest.mark.parametrize("sudo_user", ["pi", "another"])
def test_ansible_does_not_lose_the_sudo_that_it_uses(
    node: SshNode, monkeypatch: pytest.MonkeyPatch, sudo_user: str
) -> None:
    monkeypatch.setenv("SUDO_USER", sudo_user)
    node.write("/etc/sudoers.d/picluster-pi", "ALL\n", 0o440)
    operators = {"pi": {"keys": [KEY]}}
    if sudo_user == "pi":
        with pytest.raises(UserError, match=r"^operators.pi.sudo is false, but Ansible becomes root by sudo as pi"):
            converge(node, operators=operators)
        assert node.commands[-1] == "undo"
        assert node.text("/etc/sudoers.d/picluster-pi") == "ALL\n"
    else:
        converge(node, operators=operators)
        assert acts(node)[-1] == RELOAD


@pytest.mark.parametrize("fault", ["reload", "overruled"])
def test_a_failure_midway_is_rolled_back_at_once_and_says_why(node: SshNode, fault: str) -> None:
    if fault == "reload":
        node.answers[RELOAD] = Outcome(1, "", "ssh.service is broken")
    else:
        node.write("/etc/ssh/sshd_config.d/00-other.conf", "PasswordAuthentication yes\n")
    with pytest.raises(
        UserError, match="is broken" if fault == "reload" else "PasswordAuthentication yes instead of no"
    ):
        converge(node)
    assert node.commands[-1] == "undo"
    assert not node.path(DROPIN).exists()


def test_a_policy_that_would_lock_the_user_out_changes_nothing(node: SshNode) -> None:
    node.path(KEYS.format("pi")).unlink()
    with pytest.raises(UserError, match="no authorized key"):
        converge(node)
    assert (acts(node), node.changed) == ([], False)


@pytest.mark.parametrize(
    ("profile", "weak", "strong"), [("pq", True, True), ("policy", False, True), ("policy", True, False)]
)
def test_moduli_are_changed_only_where_a_client_can_ask_for_them(
    node: SshNode, profile: str, *, weak: bool, strong: bool
) -> None:
    node.answers["ssh -V"] = Outcome(0, "", "OpenSSH_9.2p1 Debian-2")
    node.answers["ssh -Q kex"] = "sntrup761x25519-sha512\ndiffie-hellman-group-exchange-sha256\n"
    node.write(RSA_KEY, "secret", 0o600)
    before = MODULUS.format(2047) + (MODULUS.format(3071) if strong else "")
    node.write(MODULI, before)
    converge(node, profile=profile)
    # With no line left, sshd would use its own small groups.
    kept = before if weak else MODULUS.format(3071)
    assert node.text(MODULI) == kept


def test_a_window_in_which_nobody_could_log_in_is_refused_before_anything(node: SshNode) -> None:
    with pytest.raises(UserError, match="confirm_within is out of range: 9; expected 10 to 3600 seconds"):
        module.converge(node, options(confirm_within=9))
    assert node.commands == []
