"""The real ssh client, as the owner of the key and as a stranger."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

_KEY_ONLY = ("BatchMode=yes", "PreferredAuthentications=publickey")
# The one that every Raspbian had.
STOCK_PASSWORD = "raspberry"  # noqa: S105 - everybody knows it, which is the point


@dataclass(frozen=True)
class Client:
    """Somebody with a key, at one node.

    Attributes:
        key: the private key.
        known_hosts: host keys seen before.
        address: where the node is.
        node: under which name its host key is kept.
    """

    key: Path
    known_hosts: Path
    address: str
    node: str

    def _run(self, user: str, options: tuple[str, ...], command: str, **more: str) -> subprocess.CompletedProcess[str]:
        common = (
            "ConnectTimeout=10",
            "ServerAliveInterval=10",
            f"UserKnownHostsFile={self.known_hosts}",
            f"HostKeyAlias={self.node}",
            # A node seen before must be the same node.
            "StrictHostKeyChecking=accept-new",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
        )
        words = ["ssh", "-F", "none", "-i", str(self.key)]
        for option in (*common, *options):
            words += ["-o", option]
        return subprocess.run(
            [*words, f"{user}@{self.address}", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=300,
            env={**os.environ, "LC_ALL": "C", **more},
        )

    def by_key(self, user: str, command: str) -> subprocess.CompletedProcess[str]:
        """Log in by the key alone."""
        return self._run(user, _KEY_ONLY, command)

    def by_password(self, user: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Try the password that everybody knows, as often as the server lets us."""
        answer = folder / "answer"
        answer.write_text(f"#!/bin/sh\necho {STOCK_PASSWORD}\n", "utf-8")
        answer.chmod(0o700)
        options = ("PubkeyAuthentication=no", "PreferredAuthentications=password,keyboard-interactive")
        return self._run(user, options, "true", SSH_ASKPASS=str(answer), SSH_ASKPASS_REQUIRE="force", DISPLAY="none")

    def ask(self, user: str, questions: dict[str, str]) -> dict[str, str]:
        """Ask a node several things in one session.

        Args:
            user: who asks.
            questions: shell commands by name.

        Returns:
            What each said, on both outputs, by name.

        Raises:
            LabError: no session, or it ended early.
        """
        script = "".join(f"printf '\\0{name}\\0'; {{ {command}\n}} 2>&1\n" for name, command in questions.items())
        done = self.by_key(user, script)
        parts = done.stdout.split("\0")[1:]
        said = {name: text.strip("\n") for name, text in zip(parts[::2], parts[1::2], strict=False)}
        if set(said) != set(questions):
            raise LabError(f"{user} at {self.address} could not be asked: {done.stderr.strip() or done.stdout[-500:]}")
        return said
