"""A run that is interrupted between its change and the confirmation, where a node must not be lost."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.engine import Engine

# Where a node keeps what it goes back to unless somebody confirms.
MANIFEST = "/var/lib/picluster/rollback/{name}/manifest"
MARK = "PICLUSTER_LAB_RUN"
# The change is under way from the manifest on, and made when the module that armed has ended; Ansible starts one with
# these words. The next one would be the one that confirms.
LOOK = "until test -e $0 && ! pgrep -f '[B]ECOME-SUCCESS' >/dev/null; do sleep 0.02; done"
LOOK_FOR = "2"  # seconds, after which the run itself is looked after
SETTLED = 600.0


class Interrupted:
    """A command on the controller, stopped at the moment in which a node's change waits for its confirmation.

    Attributes:
        said: what the command said until its end.
    """

    def __init__(self, engine: Engine, container: str, rollback: str, command: Sequence[str]) -> None:
        """Say what is to be interrupted, and when.

        Args:
            engine: where the node runs.
            container: the node's container.
            rollback: the name of what is changed, such as firewall.
            command: what to start, with the controller's environment.

        Raises:
            LabError: that is no name of a rollback.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", rollback):
            raise LabError(f"--armed takes a word such as sshd, firewall or network, not {rollback!r}.")
        self._engine = engine
        self._container = container
        self._rollback = rollback
        self._command = list(command)
        self._mark = secrets.token_hex(16)
        self.said = ""

    def run(self, act: Callable[[], None] | None) -> int:
        """Start the command, wait for the moment, act; return the command's exit code.

        Args:
            act: what happens to the node in that moment, while the command goes on; None kills the command and all
                that it started instead, as if the controller lost its power.

        Raises:
            LabError: the moment never came, or had passed.
        """
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self._mark},
            )
            try:
                self._wait(process)
                if act:
                    act()
                    process.wait(SETTLED)
            finally:
                kill_marked(self._mark)
                code = process.wait()
                output.seek(0)
                self.said = output.read().decode(errors="replace")
        if not act and not self._armed():
            raise LabError(f"The change of {self._rollback} was confirmed before the run could be killed:\n{self.said}")
        return code

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the node has changed and waits itself, for the controller's new login."""
        look = ["timeout", LOOK_FOR, "sh", "-c", LOOK, MANIFEST.format(name=self._rollback)]
        while self._engine.execute(self._container, look)[0] != 0:
            if process.poll() is not None:
                raise LabError(f"{self._command[0]} ended without a change of {self._rollback}.")

    def _armed(self) -> bool:
        return self._engine.execute(self._container, ["test", "-e", MANIFEST.format(name=self._rollback)])[0] == 0


def kill_marked(mark: str) -> int:
    """Kill every process of this user with that mark in its environment; return how many there were.

    Ansible's workers, and the masters of its ssh connections, leave the process group of the run.
    """
    line = f"{MARK}={mark}".encode()
    killed: set[int] = set()
    while fresh := {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _has(pid, line)} - killed:  # noqa: PTH208 - names only
        for pid in fresh:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        killed |= fresh
    return len(killed)


def _has(pid: int, line: bytes) -> bool:
    try:
        return line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
