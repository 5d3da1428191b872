"""A node with accounts and an sshd that reads its files."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from fakeguard import FakeGuard
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.daemon import SSHD

if TYPE_CHECKING:
    import pytest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIoB9rJk3u0Nf2c0l0b1tq7s0m4dYfZ2xJQ8m1x5q3aB me@home"
PQ = "mlkem768x25519-sha256\nsntrup761x25519-sha512\n"
KEYS = "/home/{}/.ssh/authorized_keys"
_COLLECTED = {"hostkey", "acceptenv", "allowgroups", "allowusers"}
# Root may give files away in a test, other users keep their own.
OWNER = (os.getuid() or 1000, os.getgid() if os.getuid() else 1001)


class SshNode(FakeNode):
    """A node with homes, a group of operators, and an sshd that reads the files below its root.

    Attributes:
        users: Shell by account; all accounts have the same user id.
        uids: User ids that differ.
        members: Who is in the group of operators, None if there is no such group.
        unknown: Keywords that this sshd does not know, in lower case.
    """

    def __init__(
        self,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        *users: str,
        members: list[str] | None = None,
        check_mode: bool = False,
    ) -> None:
        super().__init__(
            root,
            {
                SSHD: self._sshd,
                "ssh -V": Outcome(0, "", "OpenSSH_10.0p2 Debian-7, OpenSSL 3.5.1"),
                "ssh -Q kex": PQ,
                "ssh-keygen": self._keygen,
                "useradd": self._useradd,
                "groupadd": lambda *_: self._set_members(""),
                "gpasswd": lambda *words: self._set_members(words[2]),
                "sudo -n -l -U": self._sudo,
            },
            check_mode=check_mode,
        )
        self.guard = FakeGuard(self)
        self.users: dict[str, str] = {}
        self.uids: dict[str, int] = {}
        self.members = members
        self.unknown: set[str] = set()
        self.write(SSHD, "")
        self.write("/etc/ssh/sshd_config", "AuthorizedKeysFile .ssh/authorized_keys\n")
        for name in users:
            self._useradd(name)
        monkeypatch.setattr(pwd, "getpwnam", self._account)
        monkeypatch.setattr(grp, "getgrnam", self._group)

    def write_key(self, user: str, text: str = KEY) -> Path:
        """Give a user a key, as the card did."""
        place = self.write(KEYS.format(user), f"{text}\n", 0o600)
        for path in (place, place.parent, place.parent.parent):
            os.chown(path, *OWNER)
        return place

    def _account(self, name: str) -> SimpleNamespace:
        uid = self.uids.get(name, OWNER[0])
        return SimpleNamespace(pw_dir=f"/home/{name}", pw_uid=uid, pw_gid=OWNER[1], pw_shell=self.users[name])

    def _group(self, name: str) -> SimpleNamespace:
        if self.members is None:
            raise KeyError(name)
        return SimpleNamespace(gr_mem=self.members)

    def _set_members(self, names: str) -> str:
        self.members = [name for name in names.split(",") if name]
        return ""

    def _useradd(self, *words: str) -> str:
        self.users[words[-1]] = "/bin/bash"
        home = self.path(f"/home/{words[-1]}")
        home.mkdir(parents=True)
        os.chown(home, *OWNER)
        return ""

    def _sudo(self, *words: str) -> str | Outcome:
        user = words[-1]
        allowed = self.path(f"/etc/sudoers.d/picluster-{user}").exists()
        return "(ALL : ALL) ALL" if allowed else Outcome(1, f"User {user} is not allowed to run sudo on red1.\n")

    def _keygen(self, *words: str) -> str:
        place = Path(words[words.index("-f") + 1])
        place.write_text("secret", encoding="utf-8")
        place.with_name(f"{place.name}.pub").write_text("public", encoding="utf-8")
        return ""

    def _sshd(self, *words: str) -> str | Outcome:
        folder = self.path("/etc/ssh/sshd_config.d")
        files = [Path(words[-1])] if "-f" in words else [*sorted(folder.glob("*")), self.path("/etc/ssh/sshd_config")]
        found: dict[str, list[str]] = {}
        for path in files:
            for line in path.read_text(encoding="utf-8").splitlines():
                keyword, _, value = line.partition(" ")
                if keyword.lower() in self.unknown:
                    return Outcome(255, "", f"{path}: line 1: Bad configuration option: {keyword}")
                if not keyword.startswith("#") and (keyword.lower() in _COLLECTED or keyword.lower() not in found):
                    found.setdefault(keyword.lower(), []).append(value)
        return "".join(f"{keyword} {value}\n" for keyword, values in found.items() for value in values)
