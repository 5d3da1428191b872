"""The node's sshd: whom its files let in, what it is asked, its host keys."""

from __future__ import annotations

import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import Connection, parse_environ
from ansible_collections.picluster.cloud.plugins.module_utils.ssh import daemon, policy
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import parse_operators

ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBka"
    "GxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A= old@home"
)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIoB9rJk3u0Nf2c0l0b1tq7s0m4dYfZ2xJQ8m1x5q3aB me@home"


def test_the_places_of_authorized_keys_follow_sshd_s_tokens() -> None:
    patterns = [".ssh/authorized_keys /etc/ssh/keys/%u", "%h/k%%", "none"]
    assert daemon.key_files(patterns, "pi", "/home/pi") == [
        "/home/pi/.ssh/authorized_keys",
        "/etc/ssh/keys/pi",
        "/home/pi/k%",
    ]


def test_a_key_file_that_others_may_write_is_found_out(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    home.chmod(0o755)
    key = home / ".ssh" / "authorized_keys"
    key.write_text(KEY, encoding="utf-8")
    key.chmod(0o600)
    uid = key.stat().st_uid
    assert not daemon.too_open(key, home, uid)
    home.chmod(0o775)
    assert daemon.too_open(key, home, uid)


def test_the_connection_is_read_from_a_process_s_environment() -> None:
    assert parse_environ(b"A=1\0SSH_CONNECTION=10.0.0.9 50000 10.0.0.11 22\0B=2") == Connection("10.0.0.9", "10.0.0.11")
    assert parse_environ(b"SSH_CONNECTION=a 1 b 2222") == Connection("a", "b", "2222")
    assert parse_environ(b"A=1\0") is None
    assert parse_environ(b"SSH_CONNECTION=broken") is None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    (place / ".ssh").mkdir(parents=True, mode=0o700)
    place.chmod(0o755)
    account = SimpleNamespace(pw_dir=str(place), pw_uid=place.stat().st_uid or 4711, pw_gid=0)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: account)
    return place


def _sshd_with(monkeypatch: pytest.MonkeyPatch, effective: dict[str, list[str]] | None = None) -> daemon.Sshd:
    sshd = object.__new__(daemon.Sshd)
    sshd._user = "pi"
    found = {"authorizedkeysfile": [".ssh/authorized_keys"], **(effective or {})}
    monkeypatch.setattr(sshd, "ask", lambda *_: found)
    return sshd


def _wanted(**more: str) -> dict[str, list[str]]:
    wanted = {
        "pubkeyacceptedalgorithms": policy._SIGNATURES,
        "requiredrsasize": "3072",
        "permitrootlogin": "no",
        **more,
    }
    return {keyword: [value] for keyword, value in wanted.items()}


def test_who_has_a_key_that_sshd_takes_is_not_locked_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".ssh/authorized_keys").write_text(KEY + "\n")
    assert _sshd_with(monkeypatch).lock_out(_wanted(), {}, set()) is None


def test_who_has_no_key_is_told_before_anything_changes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = _sshd_with(monkeypatch).lock_out(_wanted(), {}, set())
    assert problem is not None
    assert f"pi has no authorized key on this node ({home}/.ssh/authorized_keys)" in problem


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [({"pubkeyacceptedalgorithms": "rsa-sha2-512"}, "ssh-ed25519"), ({}, None)],
)
def test_a_key_of_a_kind_that_the_policy_refuses_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str], kinds: str | None
) -> None:
    (home / ".ssh/authorized_keys").write_text(KEY + "\n")
    problem = _sshd_with(monkeypatch).lock_out(_wanted(**wanted), {}, set())
    assert (problem is None) if kinds is None else (problem is not None and f"refuses ({kinds})" in problem)


def test_the_keys_that_count_are_those_that_will_be_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    operators = parse_operators({"pi": {"keys": [KEY]}})
    assert _sshd_with(monkeypatch).lock_out(_wanted(), operators, set()) is None
    (home / ".ssh/authorized_keys").write_text(KEY + "\n")
    others = parse_operators({"alice": {"keys": [KEY]}})
    problem = _sshd_with(monkeypatch).lock_out(_wanted(), others, set())
    assert problem == "Ansible logs in as pi, which is not among ssh_operators: add it there with its keys"


def test_an_operator_whose_keys_sshd_would_refuse_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home
    operators = parse_operators({"pi": {"keys": [KEY]}, "alice": {"keys": [ECDSA]}})
    problem = _sshd_with(monkeypatch).lock_out(_wanted(), operators, set())
    assert problem is not None
    assert problem.startswith("ssh_operators gives alice only keys that the policy refuses (ecdsa-sha2-nistp256)")


def test_operators_keys_count_only_where_sshd_looks_for_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {**_wanted(), "authorizedkeysfile": [f"{home}/elsewhere"]}
    problem = _sshd_with(monkeypatch).lock_out(wanted, parse_operators({"pi": {"keys": [KEY]}}), {"authorizedkeysfile"})
    assert problem is not None
    assert f"no authorized key on this node ({home}/elsewhere)" in problem


def test_sshd_is_told_all_that_a_match_block_may_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # "'Match LocalPort' in configuration but 'lport' not in connection test specification" (OpenSSH 10.0).
    sshd = object.__new__(daemon.Sshd)
    sshd._user = "pi"
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(sshd, "_run", lambda *command: asked.append(command) or "")
    monkeypatch.setattr(daemon, "current_connection", lambda: Connection("10.0.0.9", "10.0.0.11", "2222"))
    sshd.ask()
    told = {item.partition("=")[0] for item in asked[0][-1].split(",")}
    assert told == {"user", "host", "addr", "laddr", "lport", "rdomain"}
    assert "laddr=10.0.0.11,lport=2222" in asked[0][-1]


def test_a_host_key_that_a_power_cut_left_empty_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"")
    monkeypatch.setattr(daemon, "_MAKE_KEY", {str(key): ["-t", "ed25519"]})
    synced: list[str] = []
    monkeypatch.setattr(daemon, "_sync", lambda path: synced.append(path.name))
    sshd = object.__new__(daemon.Sshd)
    sshd._module = SimpleNamespace(check_mode=False)

    def make(*command: str) -> str:
        half = Path(command[command.index("-f") + 1])
        half.write_text("secret")
        Path(f"{half}.pub").write_text("public")
        return ""

    monkeypatch.setattr(sshd, "_run", make)
    assert sshd.make_host_keys({"HostKey": [str(key)]}) == [str(key)]
    assert (key.read_text(), Path(f"{key}.pub").read_text()) == ("secret", "public")
    # On the card before it has its name, so that the name never stands for nothing.
    assert synced == ["key.picluster-new.pub", "key.picluster-new", tmp_path.name]
    assert sshd.make_host_keys({"HostKey": [str(key)]}) == []


def test_a_node_that_takes_keys_from_elsewhere_is_left_to_the_new_login(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sshd = _sshd_with(monkeypatch, {"authorizedkeyscommand": ["/usr/bin/keys"]})
    assert sshd.lock_out(_wanted(), {}, set()) is None
