"""sshd's policy: what is written, what is compared, who would be locked out."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils._connection import Connection, parse_environ
from ansible_collections.picluster.cloud.plugins.module_utils._files import TextFiles
from ansible_collections.picluster.cloud.plugins.modules import sshd_policy

if TYPE_CHECKING:
    from pathlib import Path

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIoB9rJk3u0Nf2c0l0b1tq7s0m4dYfZ2xJQ8m1x5q3aB me@home"


def test_passwords_and_root_are_out_by_default() -> None:
    lines = sshd_policy.render(sshd_policy.merged_policy({})).splitlines()
    for line in ("PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin no", "UsePAM yes"):
        assert line in lines
    assert "AuthenticationMethods publickey" in lines


def test_settings_add_replace_and_take_out_whatever_their_case() -> None:
    policy = sshd_policy.merged_policy(
        {"MaxAuthTries": 3, "x11forwarding": True, "IgnoreRhosts": None, "AcceptEnv": ["LANG", "LC_*"]}
    )
    assert policy["MaxAuthTries"] == ["3"]
    assert policy["X11Forwarding"] == ["yes"]
    assert "IgnoreRhosts" not in policy
    assert sshd_policy.render(policy).endswith("MaxAuthTries 3\nAcceptEnv LANG\nAcceptEnv LC_*\n")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"Match": "User pi"}, "'Match'"),
        ({"Max Auth": 3}, "'Max Auth'"),
        ({"Banner": {"a": 1}}, "Banner the value {'a': 1}"),
        ({"Banner": "x\nPermitRootLogin yes"}, "Banner the value"),
        ({"Banner": " "}, "Banner the value"),
    ],
)
def test_what_cannot_stand_on_one_line_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="ssh_settings") as caught:
        sshd_policy.merged_policy(settings)
    assert words in str(caught.value)


def test_a_value_that_another_file_overrules_is_named() -> None:
    policy = {"PasswordAuthentication": ["no"], "LoginGraceTime": ["2m"]}
    wanted = sshd_policy.parse_effective("passwordauthentication no\nlogingracetime 120\n")
    assert sshd_policy.overruled(policy, wanted, wanted) is None
    effective = sshd_policy.parse_effective("passwordauthentication yes\nlogingracetime 120\n")
    problem = sshd_policy.overruled(policy, wanted, effective)
    assert problem is not None
    assert problem.startswith("sshd would use PasswordAuthentication yes instead of no:")


def test_a_keyword_that_gathers_values_may_have_more_of_them_from_other_files() -> None:
    wanted = sshd_policy.parse_effective("acceptenv LANG\n")
    effective = sshd_policy.parse_effective("acceptenv LANG\nacceptenv COLORTERM\n")
    assert sshd_policy.overruled({"AcceptEnv": ["LANG"]}, wanted, effective) is None
    assert sshd_policy.overruled({"AcceptEnv": ["LANG"]}, wanted, {}) is not None


def test_repeated_keywords_of_sshd_are_kept() -> None:
    assert sshd_policy.parse_effective("acceptenv LANG\nacceptenv LC_*\n") == {"acceptenv": ["LANG", "LC_*"]}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("# nothing\n", 0),
        (f"#{KEY}\n", 0),
        ("ssh-ed25519 short\n", 0),
        (f"{KEY}\n", 1),
        (f'from="10.0.0.0/8",no-pty {KEY}\nsk-ssh-ed25519@openssh.com {KEY.split()[1]} token\n', 2),
        (f"ecdsa-sha2-nistp256 {KEY.split()[1]}\n", 1),
    ],
)
def test_only_real_keys_count(text: str, count: int) -> None:
    assert sshd_policy.usable_keys(text) == count


def test_the_places_of_authorized_keys_follow_sshd_s_tokens() -> None:
    patterns = [".ssh/authorized_keys /etc/ssh/keys/%u", "%h/k%%", "none"]
    assert sshd_policy.key_files(patterns, "pi", "/home/pi") == [
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
    assert not sshd_policy._too_open(key, home, uid)
    home.chmod(0o775)
    assert sshd_policy._too_open(key, home, uid)


def test_the_connection_is_read_from_a_process_s_environment() -> None:
    assert parse_environ(b"A=1\0SSH_CONNECTION=10.0.0.9 50000 10.0.0.11 22\0B=2") == Connection("10.0.0.9", "10.0.0.11")
    assert parse_environ(b"A=1\0") is None
    assert parse_environ(b"SSH_CONNECTION=broken") is None


@pytest.mark.parametrize("before", ["old\n", None])
def test_a_card_that_fails_midway_gets_the_former_file_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.setattr(sshd_policy, "DROPIN", str(tmp_path / "00-picluster.conf"))
    monkeypatch.setattr(sshd_policy, "PENDING", str(tmp_path / "pending"))
    if before is not None:
        (tmp_path / "00-picluster.conf").write_text(before, encoding="utf-8")

    def fail() -> bool:
        raise OSError(errno.EIO, "Input/output error", "/x")

    sshd = object.__new__(sshd_policy.Sshd)
    sshd._module = SimpleNamespace(check_mode=False)
    sshd.files = TextFiles(sshd._module)
    for name, value in {"ask_alone": {}, "lock_out": None, "_in_effect": {}}.items():
        monkeypatch.setattr(sshd, name, lambda *_args, value=value: value)
    monkeypatch.setattr(sshd, "_reload", fail)
    with pytest.raises(ValueError, match="/x cannot be written: Input/output error; check the card"):
        sshd.converge({"UsePAM": ["yes"]})
    left = tmp_path / "00-picluster.conf"
    assert (left.read_text(encoding="utf-8") if left.exists() else None) == before
    assert not (tmp_path / "pending").exists()
