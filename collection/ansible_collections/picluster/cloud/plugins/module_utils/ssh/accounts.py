# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The operators' accounts on a node: which exist, who may log in, and which files that takes.

A file comes with the directory that sshd must trust.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import GROUP, Operator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

_NO_SHELLS = {"nologin", "false", "sync"}


def sudoers_path(name: str) -> str:
    """Return the path of a user's sudoers drop-in."""
    return f"/etc/sudoers.d/picluster-{name}"


@dataclass(frozen=True)
class LoginFile:
    """A file in its desired state.

    Attributes:
        path: Absolute path on the node.
        text: The whole text, None for no such file.
        mode: Permission bits.
        owner: User and group id of a user's file, whose directory belongs to the same user; None for root's.
    """

    path: str
    text: str | None
    mode: int = 0o644
    owner: tuple[int, int] | None = None

    def is_right(self, node: Node) -> bool:
        """Return whether the node has it like this."""
        if node.files.read(self.path) != self.text:
            return False
        if self.text is None:
            return True
        status = node.path(self.path).stat()
        right_owner = self.owner is None or (status.st_uid, status.st_gid) == self.owner
        return stat.S_IMODE(status.st_mode) == self.mode and right_owner and self._folder_is_trusted(node)

    def write(self, node: Node) -> None:
        """Bring the file, and a user's directory, to the desired state."""
        if self.text is None:
            node.files.remove(self.path)
            return
        if self.owner is not None:
            self._prepare_folder(node, self.owner)
        node.files.put(self.path, self.text, self.mode, owner=self.owner)

    def _folder_is_trusted(self, node: Node) -> bool:
        """Return whether sshd, which reads the file as its user, can enter the directory and trusts its content."""
        folder = node.path(self.path).parent
        if self.owner is None or not folder.is_dir():
            return True
        status = folder.stat()
        readable = stat.S_IROTH | stat.S_IXOTH
        of_root = status.st_uid == 0 and status.st_mode & readable == readable
        return (status.st_uid == self.owner[0] or of_root) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)

    def _prepare_folder(self, node: Node, owner: tuple[int, int]) -> None:
        """Give the directory to its user; a run, or useradd, may have been killed before it did."""
        folder = node.path(self.path).parent
        if not self._folder_is_trusted(node):
            node.note(str(Path(self.path).parent), "not trusted by sshd", f"mode: 0700, owner: {owner[0]}:{owner[1]}")
        elif folder.exists():
            return
        if node.check_mode:
            return
        for place in (folder.parent, folder):
            if not place.exists():
                place.mkdir(mode=0o700, parents=True)
                os.chown(place, *owner)
        folder.chmod(0o700)
        os.chown(folder, *owner)


class Accounts:
    """The accounts of the listed operators, and of those that were listed before.

    Without operators, accounts and keys are left alone.
    """

    def __init__(self, node: Node, operators: Mapping[str, Operator]) -> None:
        self._node = node
        self._operators = operators

    def create(self) -> None:
        """Create the missing accounts and the group; nobody can use an account before its key is there."""
        if not self._operators:
            return
        for name in self._operators:
            if _account(name) is None:
                self._node.note("accounts", "", name)
                self._node.change("useradd", "--create-home", "--user-group", "--shell", "/bin/bash", name)
        if self.members() is None:
            self._node.change("groupadd", "--system", GROUP)

    @staticmethod
    def members() -> list[str] | None:
        """Return who may log in now, None if everybody may."""
        try:
            return sorted(grp.getgrnam(GROUP).gr_mem)
        except KeyError:
            return None

    @property
    def admitted(self) -> bool:
        """Whether exactly the operators may log in."""
        return not self._operators or self.members() == sorted(self._operators)

    def admit(self) -> None:
        """Allow exactly the operators to log in."""
        if not self.admitted:
            names = sorted(self._operators)
            self._node.note(f"members of {GROUP}", "\n".join(self.members() or []), "\n".join(names))
            self._node.change(*_admission(names))

    def restore_commands(self) -> list[list[str]]:
        """Return the commands with which a rollback admits who may log in now."""
        members = self.members()
        return [] if members is None or not self._operators else [_admission(members)]

    def files(self) -> list[LoginFile]:
        """Return the files of all operators; raise UserError if one cannot log in, or its .ssh is not a directory."""
        files = []
        for operator in self._operators.values():
            _check_can_log_in(operator.name)
            path, owner = self._key_file(operator.name)
            files.append(LoginFile(path, operator.text, 0o600, owner))
            files.append(LoginFile(sudoers_path(operator.name), operator.sudoers if operator.sudo else None, 0o440))
        for name in (self.members() or []) if self._operators else []:
            if name not in self._operators and _account(name) is not None:
                files += [LoginFile(self._key_file(name)[0], None), LoginFile(sudoers_path(name), None)]
        return files

    def loses_sudo(self, user: str) -> bool:
        """Return whether sudo says that a user may run nothing."""
        outcome = self._node.run("sudo", "-n", "-l", "-U", user)
        return f"User {user} is not allowed to run sudo" in outcome.out + outcome.err

    def _key_file(self, name: str) -> tuple[str, tuple[int, int] | None]:
        """Return the path and owner of a user's keys; in check mode the account may not exist yet."""
        account = _account(name)
        if account is None:
            return f"/home/{name}/.ssh/authorized_keys", None
        folder = Path(account.pw_dir) / ".ssh"
        place = self._node.path(str(folder))
        # It is written as root: a link would redirect the write.
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise UserError(f"{folder} is not a directory, so no keys can be written there; move it away")
        return str(folder / "authorized_keys"), (account.pw_uid, account.pw_gid)


def _admission(names: list[str]) -> list[str]:
    """Return the command that allows exactly these users to log in."""
    return ["gpasswd", "--members", ",".join(names), GROUP]


def _account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _check_can_log_in(name: str) -> None:
    account = _account(name)
    if account is None:
        return
    if account.pw_uid == 0:
        raise UserError(f"operators contains {name}, which has root's user id 0; list an ordinary user")
    if Path(account.pw_shell).name in _NO_SHELLS:
        raise UserError(
            f"operators contains {name}, whose shell {account.pw_shell} allows no login; list another user, or change "
            "the shell with chsh"
        )
