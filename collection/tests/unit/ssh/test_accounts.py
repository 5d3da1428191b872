"""The operators' accounts: created, admitted, and their files, which sshd must be able to read and trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakesshd import KEY, KEYS, OWNER, SshNode

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.accounts import Accounts, LoginFile
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import parse_operators

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., SshNode]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda *users, **options: SshNode(tmp_path, monkeypatch, *users, **options)


def accounts(node: SshNode, *operators: str, **options: Any) -> Accounts:
    return Accounts(node, parse_operators({name: {"keys": [KEY], **options} for name in operators}))


def test_without_operators_nothing_is_touched(make: Make) -> None:
    node = make("pi", members=["bob"])
    nobody = accounts(node)
    nobody.create()
    nobody.admit()
    assert nobody.files() == []
    assert nobody.restore_commands() == []
    assert (node.commands, node.changed) == ([], False)


def test_accounts_and_group_are_created_and_exactly_the_operators_admitted(make: Make) -> None:
    node = make("pi")
    both = accounts(node, "pi", "alice")
    both.create()
    assert not both.admitted
    both.admit()
    assert [command.split()[0] for command in node.commands] == ["useradd", "groupadd", "gpasswd"]
    assert node.commands[-1] == "gpasswd --members alice,pi picluster-ssh"
    assert both.admitted
    assert [(entry["before_header"], entry["after"]) for entry in node.diff] == [
        ("accounts", "alice\n"),
        ("members of picluster-ssh", "alice\npi\n"),
    ]


def test_check_mode_creates_no_account(make: Make) -> None:
    node = make(check_mode=True)
    new = accounts(node, "alice")
    new.create()
    new.admit()
    assert (node.commands, len(node.diff)) == ([], 2)
    assert new.files()[0].path == KEYS.format("alice")


def test_a_former_operator_loses_keys_and_sudo(make: Make) -> None:
    node = make("pi", "bob", members=["bob", "gone", "pi"])
    files = {file.path: file for file in accounts(node, "pi", sudo=True).files()}
    mine = files[KEYS.format("pi")]
    assert (mine.mode, mine.owner) == (0o600, OWNER)
    assert files["/etc/sudoers.d/picluster-pi"].mode == 0o440
    assert files[KEYS.format("bob")].text is None
    assert files["/etc/sudoers.d/picluster-bob"].text is None
    assert len(files) == 4


def test_a_link_in_place_of_the_key_directory_is_refused(make: Make) -> None:
    node = make("pi", members=["pi"])
    node.path("/home/pi/.ssh").symlink_to("/etc")
    with pytest.raises(UserError, match=r"^/home/pi/\.ssh is not a directory, .*; move it away"):
        accounts(node, "pi").files()


def test_the_key_directory_belongs_to_its_user_alone(make: Make) -> None:
    node = make("pi", members=["pi"])
    # As useradd leaves it when it is killed before it creates the home.
    node.path("/home/pi").rmdir()
    file = accounts(node, "pi").files()[0]
    assert not file.is_right(node)
    file.write(node)
    folder = node.path("/home/pi/.ssh")
    for place, mode in ((folder.parent, 0o700), (folder, 0o700), (folder / "authorized_keys", 0o600)):
        status = place.stat()
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (mode, *OWNER)
    assert file.is_right(node)


def test_a_key_directory_that_sshd_could_not_read_or_trust_is_repaired(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Created by a run that was killed before it gave it away, or by root's mkdir.
    owners: list[tuple[Any, ...]] = []
    monkeypatch.setattr("os.chown", lambda *arguments: owners.append(arguments))
    node = make("pi")
    place = node.write(KEYS.format("pi"), "", 0o600)
    me = (place.stat().st_uid, place.stat().st_gid)
    place.parent.chmod(0o700)
    mine, others = (LoginFile(KEYS.format("pi"), "", 0o600, owner) for owner in (me, (me[0] + 1, me[1])))
    assert mine.is_right(node)
    assert not others._folder_is_trusted(node)
    others._prepare_folder(node, (me[0] + 1, me[1]))
    assert owners[-1] == (place.parent, me[0] + 1, me[1])
    place.parent.chmod(0o777)
    assert not mine.is_right(node)
    node.diff.clear()
    mine.write(node)
    assert place.parent.stat().st_mode & 0o7777 == 0o700
    assert [entry["after_header"] for entry in node.diff] == ["/home/pi/.ssh"]
    # Files that are not a user's own have no such directory.
    node.write("/home/pi/.ssh/x", "").parent.chmod(0o777)
    assert LoginFile("/home/pi/.ssh/x", "").is_right(node)


@pytest.mark.parametrize(
    ("name", "uid", "shell", "words"),
    [
        ("toor", 0, "/bin/sh", "operators contains toor, which has root's user id 0"),
        ("www-data", 33, "/usr/sbin/nologin", "whose shell /usr/sbin/nologin allows no login"),
    ],
)
def test_an_account_that_could_not_log_in_is_no_operator(
    make: Make, name: str, uid: int, shell: str, words: str
) -> None:
    node = make(name, members=[name])
    node.uids[name], node.users[name] = uid, shell
    with pytest.raises(UserError, match=words):
        accounts(node, name).files()


def test_sudo_itself_says_who_has_none(make: Make) -> None:
    node = make("pi", members=["pi"])
    node.write("/etc/sudoers.d/picluster-pi", "")
    assert accounts(node, "pi").loses_sudo("poor")
    assert not accounts(node, "pi").loses_sudo("pi")
