"""Who may log in: what the inventory may say, which keys sshd would take, and what that means for a node's files."""

from __future__ import annotations

import base64
import grp
import pwd
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.ssh.accounts import (
    Accounts,
    File,
    foreign_folder,
    make_key_folder,
)
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import (
    PublicKey,
    parse_key,
    parse_keys,
    parse_operators,
    refusal,
)

if TYPE_CHECKING:
    from pathlib import Path


def key(kind: str, *parts: bytes) -> str:
    blob = b"".join(struct.pack(">I", len(part)) + part for part in (kind.encode(), *parts))
    return f"{kind} {base64.b64encode(blob).decode()} me@home"


def rsa(bits: int) -> str:
    return key("ssh-rsa", b"\x01\x00\x01", b"\x00" + (1 << (bits - 1)).to_bytes(bits // 8, "big"))


ED25519 = key("ssh-ed25519", b"k" * 32)
OTHER = key("ssh-ed25519", b"o" * 32)
ECDSA = key("ecdsa-sha2-nistp256", b"nistp256", b"x" * 65)
ACCEPTED = "ssh-ed25519,rsa-sha2-512"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", None),
        ("# nothing", None),
        (f"#{ED25519}", None),
        ("ssh-ed25519 short", None),
        ("ssh-ed25519 " + "A" * 43, None),
        (ED25519.replace("ssh-ed25519", "ssh-rsa", 1), None),
        (ED25519[:50], None),
        (ED25519, PublicKey("ssh-ed25519")),
        (f'from="10.0.0.0/8",no-pty {ED25519}', PublicKey("ssh-ed25519")),
        (ECDSA, PublicKey("ecdsa-sha2-nistp256")),
        (rsa(2048), PublicKey("ssh-rsa", 2048)),
        (rsa(4096), PublicKey("ssh-rsa", 4096)),
    ],
)
def test_only_real_keys_count(line: str, found: PublicKey | None) -> None:
    assert parse_key(line) == found


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([ED25519], None),
        ([rsa(3072)], None),
        ([ECDSA, ED25519], None),
        ([rsa(2048)], "RSA of 2048 bits"),
        ([ECDSA, rsa(2048), ECDSA], "ecdsa-sha2-nistp256, RSA of 2048 bits"),
    ],
)
def test_keys_that_sshd_would_refuse_are_told_apart(keys: list[str], reason: str | None) -> None:
    assert refusal(parse_keys("\n".join(keys)), ACCEPTED, 3072) == reason


def test_a_release_that_does_not_say_what_it_takes_is_left_to_the_new_login() -> None:
    assert refusal(parse_keys(ECDSA), "", 0) is None


def test_operators_are_read_with_each_key_once() -> None:
    operators = parse_operators({"pi": {"keys": [ED25519, f" {ED25519}\n", OTHER], "sudo": True}})
    assert operators["pi"].keys == (ED25519, OTHER)
    assert operators["pi"].text.splitlines()[1:] == [ED25519, OTHER]
    assert "pi ALL=(ALL:ALL) NOPASSWD: ALL\n" in operators["pi"].sudoers


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"root": {"keys": [ED25519]}}, "the user 'root'"),
        ({"a b": {"keys": [ED25519]}}, "the user 'a b'"),
        ({"../x": {"keys": [ED25519]}}, "the user '../x'"),
        ({"pi": [ED25519]}, "wanted is a mapping"),
        ({"pi": {"keys": [ED25519], "sudoo": True}}, "wanted is a mapping"),
        ({"pi": {}}, "no keys"),
        ({"pi": {"keys": []}}, "no keys"),
        ({"pi": {"keys": ED25519}}, "no keys"),
        ({"pi": {"keys": ["~/.ssh/id_rsa.pub"]}}, "wanted is a public key"),
        ({"pi": {"keys": [f"{ED25519}\n{OTHER}"]}}, "wanted is a public key"),
        ({"pi": {"keys": [ED25519], "sudo": "yes please"}}, "wanted is true or false"),
    ],
)
def test_operators_that_cannot_be_are_refused(value: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="ssh_operators") as caught:
        parse_operators(value)
    assert words in str(caught.value)


SECRET = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize("value", [{"keys": [SECRET]}, SECRET, {"keys": [ED25519], "sudo": SECRET}])
def test_a_private_key_in_place_of_the_public_one_is_not_shown(value: object) -> None:
    with pytest.raises(ValueError, match="a private key, which belongs on no node") as caught:
        parse_operators({"pi": value})
    assert "b3Blbn" not in str(caught.value)


class Node:
    """Accounts with homes in a folder."""

    def __init__(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, users: list[str], members: list[str] | None
    ) -> None:
        self.calls: list[list[str]] = []
        self.root = root
        self.users = users
        for user in users:
            (root / user).mkdir()
        monkeypatch.setattr(pwd, "getpwnam", self._user)
        self.members = members
        monkeypatch.setattr(grp, "getgrnam", self._group)

    def _user(self, name: str) -> SimpleNamespace:
        if name not in self.users:
            raise KeyError(name)
        uid, shell = {"toor": (0, "/bin/sh"), "www-data": (33, "/usr/sbin/nologin")}.get(name, (1000, "/bin/bash"))
        return SimpleNamespace(pw_dir=str(self.root / name), pw_uid=uid, pw_gid=1001, pw_shell=shell)

    def _group(self, name: str) -> SimpleNamespace:
        if self.members is None:
            raise KeyError(name)
        return SimpleNamespace(gr_mem=self.members)

    def run(self, command: list[str]) -> tuple[int, str, str]:
        self.calls.append(command)
        if command[:2] == ["env", "LC_ALL=C"]:
            return 1, f"User {command[-1]} is not allowed to run sudo on rv1.\n" if command[-1] == "poor" else "ALL", ""
        return (1, "", "no") if command[0] == "useradd" and command[-1] == "bad" else (0, "", "")

    def accounts(self, **users: dict[str, Any]) -> Accounts:
        return Accounts(self.run, parse_operators(users))


def test_no_operators_means_hands_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, monkeypatch, ["pi"], ["bob"])
    accounts = node.accounts()
    accounts.create()
    accounts.admit()
    assert accounts.files() == []
    assert node.calls == []


def test_accounts_and_group_are_made_and_exactly_the_operators_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path, monkeypatch, ["pi"], None)
    accounts = node.accounts(pi={"keys": [ED25519]}, alice={"keys": [OTHER]})
    assert accounts.missing() == ["alice"]
    accounts.create()
    accounts.admit()
    assert [call[0] for call in node.calls] == ["useradd", "groupadd", "gpasswd"]
    assert node.calls[-1] == ["gpasswd", "--members", "alice,pi", "picluster-ssh"]


def test_who_is_in_already_is_not_let_in_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, monkeypatch, ["pi"], ["pi"])
    accounts = node.accounts(pi={"keys": [ED25519]})
    accounts.create()
    accounts.admit()
    assert node.calls == []


def test_an_account_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"useradd .* bad failed: no"):
        Node(tmp_path, monkeypatch, [], None).accounts(bad={"keys": [ED25519]}).create()


def test_who_is_taken_out_loses_keys_and_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, monkeypatch, ["pi", "bob"], ["bob", "gone", "pi"])
    files = {file.path: file for file in node.accounts(pi={"keys": [ED25519], "sudo": True}).files()}
    mine = files[str(tmp_path / "pi/.ssh/authorized_keys")]
    assert (mine.mode, mine.owner) == (0o600, (1000, 1001))
    assert files["/etc/sudoers.d/picluster-pi"].mode == 0o440
    assert files[str(tmp_path / "bob/.ssh/authorized_keys")].text is None
    assert files["/etc/sudoers.d/picluster-bob"].text is None
    assert len(files) == 4


def test_a_link_in_place_of_the_key_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, monkeypatch, ["pi"], ["pi"])
    (tmp_path / "pi/.ssh").symlink_to("/etc")
    with pytest.raises(ValueError, match="is not a folder"):
        node.accounts(pi={"keys": [ED25519]}).files()


def test_the_key_folder_is_its_owner_s_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[Any, ...]] = []
    monkeypatch.setattr("os.chown", lambda *args: owners.append(args))
    node = Node(tmp_path, monkeypatch, ["pi"], ["pi"])
    # As useradd leaves it when it is killed before it makes the home.
    (tmp_path / "pi").rmdir()
    file = node.accounts(pi={"keys": [ED25519]}).files()[0]
    make_key_folder(file)
    assert (tmp_path / "pi/.ssh").stat().st_mode & 0o7777 == 0o700
    assert owners[:2] == [(tmp_path / "pi", 1000, 1001), (tmp_path / "pi/.ssh", 1000, 1001)]


def test_a_key_folder_that_sshd_could_not_read_or_trust_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Made by a run that was killed before it gave it away, or by root's mkdir.
    owners: list[tuple[Any, ...]] = []
    monkeypatch.setattr("os.chown", lambda *args: owners.append(args))
    me = (tmp_path.stat().st_uid, tmp_path.stat().st_gid)
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    mine, others = (File(str(folder / "authorized_keys"), "", 0o600, owner) for owner in (me, (me[0] + 1, 1)))
    assert foreign_folder(mine) is None
    assert foreign_folder(others) == str(folder)
    make_key_folder(others)
    assert owners == [(folder, me[0] + 1, 1)]
    folder.chmod(0o777)
    assert foreign_folder(mine) == str(folder)
    make_key_folder(mine)
    assert folder.stat().st_mode & 0o7777 == 0o700
    # Files that are nobody's keys have no such folder.
    assert foreign_folder(File(str(tmp_path / "x"), "")) is None


@pytest.mark.parametrize(("name", "words"), [("toor", "root by its user id 0"), ("www-data", "/usr/sbin/nologin")])
def test_an_account_that_could_not_log_in_is_no_operator(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path, monkeypatch, [name], [name])
    with pytest.raises(ValueError, match=words):
        node.accounts(**{name: {"keys": [ED25519]}}).files()


def test_sudo_itself_says_who_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = Node(tmp_path, monkeypatch, ["pi"], ["pi"]).accounts(pi={"keys": [ED25519]})
    assert accounts.loses_sudo("poor")
    assert not accounts.loses_sudo("pi")
