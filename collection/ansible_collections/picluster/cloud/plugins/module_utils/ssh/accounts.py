# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The operators' accounts on a node: who exists, who may log in, and which files that needs."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import GROUP, Operator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Run = Callable[[list[str]], tuple[int, str, str]]

SUDOERS = "/etc/sudoers.d"
_NO_SHELLS = {"nologin", "false", "sync"}


@dataclass(frozen=True)
class File:
    """A file as it is wanted.

    Attributes:
        path: Absolute.
        text: The whole text, None for no such file.
        mode: Permission bits.
        owner: User and group id, None for root's.
    """

    path: str
    text: str | None
    mode: int = 0o644
    owner: tuple[int, int] | None = None


class Accounts:
    """The accounts that the inventory names, and those that it named before."""

    def __init__(self, run: Run, operators: Mapping[str, Operator]) -> None:
        self._run = run
        self._operators = operators

    def missing(self) -> list[str]:
        """Return who has no account yet."""
        return [name for name in self._operators if not _exists(name)]

    def create(self) -> None:
        """Make the missing accounts; without a key in place nobody can use them."""
        if not self._operators:
            return
        for name in self.missing():
            self._do("useradd", "--create-home", "--user-group", "--shell", "/bin/bash", name)
        if self.members() is None:
            self._do("groupadd", "--system", GROUP)

    @staticmethod
    def members() -> list[str] | None:
        """Return who may log in now, None where all may."""
        try:
            return sorted(grp.getgrnam(GROUP).gr_mem)
        except KeyError:
            return None

    def admit(self) -> None:
        """Let exactly the operators in."""
        if self._operators and self.members() != sorted(self._operators):
            self._do(*self.admission(sorted(self._operators)))

    @staticmethod
    def admission(names: list[str]) -> list[str]:
        """Return the command that lets exactly these in."""
        return ["gpasswd", "--members", ",".join(names), GROUP]

    def files(self) -> list[File]:
        """Return the files of the operators, and of those who are none any more.

        Raises:
            ValueError: an operator's account cannot log in, or its folder of keys is not a folder.
        """
        if not self._operators:
            return []
        wanted = []
        for operator in self._operators.values():
            _refuse_who_cannot_log_in(operator.name)
            path, owner = _key_file(operator.name)
            wanted.append(File(path, operator.text, 0o600, owner))
            wanted.append(
                File(f"{SUDOERS}/picluster-{operator.name}", operator.sudoers if operator.sudo else None, 0o440)
            )
        for name in self.members() or []:
            if name not in self._operators and _exists(name):
                wanted += [File(_key_file(name)[0], None), File(f"{SUDOERS}/picluster-{name}", None)]
        return wanted

    def loses_sudo(self, user: str) -> bool:
        """Whether sudo itself says that a user may run nothing."""
        _rc, out, err = self._run(["env", "LC_ALL=C", "sudo", "-n", "-l", "-U", user])
        return f"User {user} is not allowed to run sudo" in out + err

    def _do(self, *command: str) -> None:
        rc, out, err = self._run(list(command))
        if rc != 0:
            raise ValueError(f"{' '.join(command)} failed: {' '.join((err or out).split())}")


def foreign_folder(file: File) -> str | None:
    """Return the folder of a key file if sshd, which reads it as the user, would not get or not trust what is in it."""
    folder = Path(file.path).parent
    if not file.owner or not folder.is_dir():
        return None
    status = folder.stat()
    readable = stat.S_IROTH | stat.S_IXOTH
    root_s = status.st_uid == 0 and status.st_mode & readable == readable
    fits = (status.st_uid == file.owner[0] or root_s) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return None if fits else str(folder)


def make_key_folder(file: File) -> None:
    """Have the folder of a key file, its owner's alone; a run, or useradd, may have been killed in the middle of it."""
    folder = Path(file.path).parent
    if not file.owner:
        return
    for place in (folder.parent, folder):
        if not place.exists():
            place.mkdir(mode=0o700, parents=True)
            os.chown(place, *file.owner)
    if foreign_folder(file):
        folder.chmod(0o700)
        os.chown(folder, *file.owner)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _refuse_who_cannot_log_in(name: str) -> None:
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        return
    if account.pw_uid == 0:
        raise ValueError(f"ssh_operators has {name}, which is root by its user id 0: name a user of its own")
    if Path(account.pw_shell).name in _NO_SHELLS:
        raise ValueError(
            f"ssh_operators has {name}, whose shell {account.pw_shell} lets nobody log in: name another user, or give "
            "it a shell with chsh"
        )


def _key_file(name: str) -> tuple[str, tuple[int, int] | None]:
    """Return where a user's keys are, and whose that is; in check mode the account may not be there yet."""
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        return f"/home/{name}/.ssh/authorized_keys", None
    folder = Path(account.pw_dir) / ".ssh"
    # Written as root: a link would lead the pen elsewhere.
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"{folder} is not a folder, so that no keys can be put there: move it away")
    return str(folder / "authorized_keys"), (account.pw_uid, account.pw_gid)
