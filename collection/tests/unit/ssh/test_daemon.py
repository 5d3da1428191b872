"""The node's sshd: how it reads a policy, whom its files admit, its host keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakesshd import KEY, SshNode

from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import Connection, parse_environ
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.ssh import daemon, policy
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import parse_operators

if TYPE_CHECKING:
    from pathlib import Path

ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBka"
    "GxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A= old@home"
)


def test_the_places_of_authorized_keys_follow_sshd_s_tokens() -> None:
    patterns = [".ssh/authorized_keys /etc/ssh/keys/%u", "%h/k%%", "none"]
    assert daemon.key_files(patterns, "pi", "/home/pi") == [
        "/home/pi/.ssh/authorized_keys",
        "/etc/ssh/keys/pi",
        "/home/pi/k%",
    ]


def test_the_connection_is_read_from_a_process_s_environment() -> None:
    assert parse_environ(b"A=1\0SSH_CONNECTION=10.0.0.9 50000 10.0.0.11 22\0B=2") == Connection("10.0.0.9", "10.0.0.11")
    assert parse_environ(b"SSH_CONNECTION=a 1 b 2222") == Connection("a", "b", "2222")
    assert parse_environ(b"A=1\0") is None
    assert parse_environ(b"SSH_CONNECTION=broken") is None


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SshNode:
    return SshNode(tmp_path, monkeypatch, "pi", "alice")


def check(node: SshNode, operators: dict[str, list[str]] | None = None, user: str = "pi", **settings: str) -> None:
    """Check a policy of the usual algorithms and of some settings."""
    desired = policy.merged_policy(settings, {"PubkeyAcceptedAlgorithms": [policy._SIGNATURES]})
    listed = parse_operators({name: {"keys": keys} for name, keys in (operators or {}).items()})
    sshd = daemon.Sshd(node, user, None)
    sshd.check_login(sshd.judge(desired, settings), listed)


def test_a_user_whose_key_sshd_accepts_is_not_locked_out(node: SshNode) -> None:
    node.write_key("pi")
    check(node)


def test_a_user_without_a_key_is_reported_before_anything_changes(node: SshNode) -> None:
    with pytest.raises(
        UserError, match=r"^user pi has no authorized key on this node \(/home/pi/.ssh/authorized_keys\)"
    ):
        check(node)


def test_keys_that_other_users_may_write_are_reported(node: SshNode) -> None:
    place = node.write_key("pi")
    node.path("/home/pi").chmod(0o775)
    with pytest.raises(UserError, match=r"^sshd ignores /home/pi/.ssh/authorized_keys: .*; fix owner and mode"):
        check(node)
    check(node, StrictModes="no")
    node.path("/home/pi").chmod(0o755)
    place.chmod(0o666)
    with pytest.raises(UserError, match="sshd ignores"):
        check(node)


@pytest.mark.parametrize(
    ("key", "settings", "kinds"),
    [(KEY, {"PubkeyAcceptedAlgorithms": "rsa-sha2-512"}, "ssh-ed25519"), (ECDSA, {}, "ecdsa-sha2-nistp256")],
)
def test_a_key_of_a_kind_that_the_policy_rejects_is_named(
    node: SshNode, key: str, settings: dict[str, str], kinds: str
) -> None:
    node.write_key("pi", key)
    with pytest.raises(
        UserError, match=f"only keys in /home/pi/.ssh/authorized_keys that the policy rejects: {kinds};"
    ):
        check(node, **settings)


def test_the_keys_that_count_are_those_that_will_be_there(node: SshNode) -> None:
    check(node, {"pi": [KEY]})
    node.write_key("pi")
    with pytest.raises(UserError, match=r"^operators does not contain pi, the user that Ansible logs in as"):
        check(node, {"alice": [KEY]})


def test_an_operator_whose_keys_sshd_would_reject_is_reported(node: SshNode) -> None:
    with pytest.raises(
        UserError, match=r"^operators.alice has only keys that the policy rejects: ecdsa-sha2-nistp256;"
    ):
        check(node, {"pi": [KEY], "alice": [ECDSA]})


def test_operators_keys_count_only_where_sshd_looks_for_them(node: SshNode) -> None:
    with pytest.raises(UserError, match=r"no authorized key on this node \(/elsewhere\)"):
        check(node, {"pi": [KEY]}, AuthorizedKeysFile="/elsewhere")


def test_a_user_who_does_not_exist_or_may_not_log_in_is_reported(node: SshNode) -> None:
    with pytest.raises(UserError, match=r"^user bob does not exist on this node"):
        check(node, user="bob")
    node.uids["pi"] = 0
    with pytest.raises(UserError, match="user pi cannot log in under the policy: PermitRootLogin is no; log in as"):
        check(node)


@pytest.mark.parametrize("line", ["AuthorizedKeysCommand /usr/bin/keys", "TrustedUserCAKeys /etc/ssh/ca.pub"])
def test_a_node_that_takes_keys_from_elsewhere_is_left_to_the_new_login(node: SshNode, line: str) -> None:
    node.write("/etc/ssh/sshd_config", f"{line}\n")
    check(node)


def test_sshd_gets_all_criteria_that_a_match_block_may_use(node: SshNode) -> None:
    # "'Match LocalPort' in configuration but 'lport' not in connection test specification" (OpenSSH 10.0).
    sshd = daemon.Sshd(node, "pi", Connection("10.0.0.9", "10.0.0.11", "2222"))
    sshd.in_effect(sshd.judge({}, {}))
    criteria = node.commands[-1].split()[-1]
    assert criteria == "user=pi,host=10.0.0.9,addr=10.0.0.9,laddr=10.0.0.11,lport=2222,rdomain="


def test_a_node_without_sshd_is_reported(node: SshNode) -> None:
    node.path(daemon.SSHD).unlink()
    with pytest.raises(UserError, match=r"^/usr/sbin/sshd does not exist on this node; install openssh-server"):
        daemon.Sshd(node, "pi", None)


def test_optional_keywords_that_sshd_does_not_know_are_left_out_unless_the_user_sets_them(node: SshNode) -> None:
    node.unknown = {"gssapiauthentication"}
    desired = {"GSSAPIAuthentication": ["no"], "UsePAM": ["yes"]}
    sshd = daemon.Sshd(node, "pi", None)
    judged = sshd.judge(desired, {})
    assert (judged.policy, judged.left_out) == ({"UsePAM": ["yes"]}, ["gssapiauthentication"])
    with pytest.raises(
        UserError,
        match=r"^settings are not accepted by sshd: 00-picluster.conf: line 1: Bad configuration option: GSSAPI",
    ):
        sshd.judge(desired, {"GSSAPIAuthentication": "no"})


def test_a_host_key_that_a_power_cut_left_empty_is_created_again(
    node: SshNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = node.write(policy.ED25519_KEY, "")
    synced: list[str] = []
    monkeypatch.setattr(daemon, "sync", lambda path: synced.append(path.name))
    sshd = daemon.Sshd(node, "pi", None)
    sshd.create_host_keys({"HostKey": [policy.ED25519_KEY, "/etc/ssh/key_of_the_user"]})
    assert (key.read_text(), key.with_name(f"{key.name}.pub").read_text()) == ("secret", "public")
    # On the card before it has its name, so that the name never stands for nothing.
    assert synced == [f"{key.name}.picluster-new.pub", f"{key.name}.picluster-new", "ssh"]
    assert [entry["after"] for entry in node.diff] == [f"{policy.ED25519_KEY}\n"]
    sshd.create_host_keys({"HostKey": [policy.ED25519_KEY]})
    assert len(node.commands) == 1
