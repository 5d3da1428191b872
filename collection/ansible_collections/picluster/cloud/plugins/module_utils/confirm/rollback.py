# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The node's half of commit-confirm: what a change replaces is kept, and comes back unless somebody confirms in time.

A module arms before it changes anything, then changes; the controller logs in afresh and confirms. Whatever ends the
window otherwise (nobody confirms, a kill, a power cut) the old files come back: by a timer, or by a unit at the next
boot, before the network and sshd start.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import secrets
import shlex
import shutil
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.program import FOLDER, SCRIPT, UNIT, UNIT_TEXT
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text, sync, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

UNIT_PATH = f"/etc/systemd/system/{UNIT}"
# Lies in /run, so that it is gone after a reboot: by it the unit tells the boot after a power cut from the one in which
# the rollback was armed (systemd starts what sysinit.target wants whenever it starts something else).
MARKERS = "/run/picluster-rollback"

# Options of every module that arms, beside the documentation fragment picluster.cloud.confirmed.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "confirm_within": {"type": "int", "default": 60},
    # No secret: whoever can use it on the node is root there.
    "confirm_token": {"type": "str", "no_log": False},
}
SHORTEST, LONGEST = 10, 3600
# Seconds to wait for another call on the same node; longer than any of them takes.
PATIENCE = 60

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_TOKEN = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True)
class State:
    """What is armed.

    Attributes:
        token: The arming's.
        files: The paths that would come back.
        restoring: The way back has begun (and was killed, if nobody holds the lock); a confirm is too late.
    """

    token: str
    files: tuple[str, ...]
    restoring: bool = False


def check_window(seconds: int) -> int:
    """Return `seconds`; raise UserError if it is no sensible time to log in again."""
    if not SHORTEST <= seconds <= LONGEST:
        raise UserError(
            f"confirm_within is {seconds}, wanted are {SHORTEST} to {LONGEST} seconds in which a new login must succeed"
        )
    return seconds


class Rollback:
    """One named rollback of a node.

    In a module::

        rollback = Rollback(node, "sshd")
        if wanted != present or rollback.state():
            confirm = rollback.arm(seconds, token, [DROPIN], [["systemctl", "reload", "ssh.service"]])
            try:
                ...  # change the files, put them in force
            except (UserError, OSError):
                rollback.undo()  # files and commands, at once
                raise
            module.exit_json(changed=True, confirm=confirm)  # the action plugin takes it from here

    Attributes:
        name: What is rolled back: one word such as sshd.
    """

    def __init__(self, node: Node, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise UserError(f"a rollback is called {name!r}, wanted are small letters, digits, _ and -")
        self.name = name
        self._node = node
        self._home = node.path(FOLDER)
        self._folder = self._home / name
        self._done = self._home / f"{name}.confirmed"
        self._marker = node.path(MARKERS) / name

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep out other calls that would change the same: a run that is killed leaves its call behind on the node.

        Raises:
            UserError: another call is still at it after a minute; one sentence.
        """
        folder = self._marker.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        with (folder / f"{self.name}.alone").open("w", encoding="ascii") as lock:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise UserError(
                            f"another run is still changing {self.name} on this node: let it finish, then run the "
                            "playbook again"
                        ) from error
                    time.sleep(0.2)
            yield

    def state(self) -> State | None:
        """Return what is armed, or None."""
        for part in ("manifest", "restoring"):
            text = read_text(str(self._folder / part))
            if text is not None:
                return _state(text, restoring=part == "restoring")
        return None

    def arm(  # noqa: PLR0913 - when which commands run, by name
        self,
        seconds: int,
        token: str | None,
        files: Sequence[str],
        restore: Sequence[Sequence[str]],
        *,
        at_boot: Sequence[Sequence[str]] = (),
        at_confirm: Sequence[Sequence[str]] = (),
    ) -> dict[str, Any]:
        """Keep `files` as they are and let them come back after `seconds`; nothing may have been changed before.

        Armed already (by a run that was killed), the older state stays the one that comes back, for the files of both.

        Args:
            seconds: from now until the node goes back, unless `confirm` comes first.
            token: the caller's mark of this arming, hexadecimal; None makes one.
            files: absolute paths that are going to change, be made or be removed; text, binary or symbolic links.
            restore: commands that put the files in force, after they are back.
            at_boot: commands for the same at boot, before network and sshd start; most changes need none then. They
                must not talk to services.
            at_confirm: commands that end what was only meant for the window, such as a second address. They run before
                it is permanent, so a node that is killed between goes back.

        Returns:
            What the module hands to its action plugin as `confirm`: name, token, within.

        Raises:
            UserError: it cannot be armed; one sentence. Nothing is armed then that was not before.
            OSError: the same, for the card's reasons.
        """
        check_window(seconds)
        try:
            commands = [
                f"{word} {shlex.join(command)}"
                for word, group in (("run", restore), ("boot", at_boot), ("confirm", at_confirm))
                for command in group
            ]
            return self._arm(seconds, token or secrets.token_hex(16), files, commands)
        except OSError as error:
            # A write that fails does not say where.
            error.filename = error.filename or str(self._folder)
            raise

    def _arm(self, seconds: int, token: str, files: Sequence[str], commands: Sequence[str]) -> dict[str, Any]:
        if not _TOKEN.fullmatch(token):
            raise UserError(f"confirm_token is {token!r}, wanted are 16 to 64 hexadecimal digits")
        self._install()
        before = self.state()
        if before and before.restoring:
            # It would be wrong to keep files that are half way back.
            self.undo()
        with self._locked():
            if (self._folder / "restoring").exists():
                # Since then, and cut off: what is saved there is the only old state.
                raise UserError(f"the way back of {self.name} has just begun and was cut off: run the playbook again")
            old = read_text(str(self._folder / "manifest"))
            if old is None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder.mkdir(mode=0o700)
            lines = self._manifest(token, old or "", files, commands)
            sync(self._folder)
            self._start_timer(seconds, token)
            self._marker.parent.mkdir(mode=0o700, exist_ok=True)
            self._marker.touch()
            write_atomically(self._folder / "manifest", "".join(f"{line}\n" for line in lines), 0o600)
            # Of an older change; from now on it would say that this one was confirmed by somebody.
            self._done.unlink(missing_ok=True)
            sync(self._folder)
            sync(self._home)
        if old is not None:
            self._stop_timer(_state(old).token)
        return {"name": self.name, "token": token, "within": seconds}

    def confirm(self, token: str) -> bool:
        """Make permanent what was changed since it was armed with `token`; False if that has been done before.

        Raises:
            UserError: it is too late, or another run has armed since; one sentence.
        """
        if not self._home.is_dir():
            raise UserError(f"nothing waits for a confirmation under the name {self.name}: run the playbook again")
        with self._locked():
            present = self.state()
            if present is None or present.restoring:
                # An answer that was lost on its way, and is asked for again.
                last = read_text(str(self._done))
                if not present and token == _token(last or ""):
                    return False
                if not present and last is not None:
                    raise UserError(
                        f"another run has changed {self.name} and confirmed that: run the playbook again, which looks "
                        "where the node is now"
                    )
                raise UserError(
                    f"the confirmation of {self.name} came too late, the node has gone back to what it was before: "
                    "run the playbook again"
                )
            if present.token != token:
                raise UserError(
                    f"another run has changed {self.name} since: let it finish, then run the playbook again"
                )
            for line in (self._folder / "manifest").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
                word, _, command = line.partition(" ")
                if word == "confirm":
                    self._node.run("/bin/sh", "-c", command)
            (self._folder / "manifest").replace(self._done)
            sync(self._home)
            self._marker.unlink(missing_ok=True)
            shutil.rmtree(self._folder, ignore_errors=True)
        self._stop_timer(token)
        return True

    def undo(self, token: str | None = None) -> bool:
        """Go back now, or wait for a way back that has begun; False if there is nothing to go back from.

        Args:
            token: only if it is this arming; None takes any.

        Raises:
            UserError: a file could not be put back; the timer tries again.
        """
        present = self.state()
        if present is None or (token is not None and present.token != token and not present.restoring):
            return False
        # A way back that an older script could not finish; on a full card the older one must do.
        with contextlib.suppress(OSError):
            self._install_script()
        command = ["/bin/sh", str(self._home / "restore"), self.name, *([token] if token else [])]
        outcome = self._node.run(*command)
        if not outcome.ok:
            raise UserError(f"the node could not go back to what it was: {outcome.reason}; it tries again")
        self._stop_timer(present.token)
        return True

    def _install(self) -> None:
        """Have program and boot unit on the node."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._home.chmod(0o700)
        self._install_script()
        unit = self._node.path(UNIT_PATH)
        wanted = unit.parent / "sysinit.target.wants" / UNIT
        if read_text(str(unit)) == UNIT_TEXT and wanted.is_symlink():
            return
        unit.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(unit, UNIT_TEXT)
        sync(unit.parent)
        outcome = self._node.run("systemctl", "enable", UNIT)
        if not outcome.ok:
            raise UserError(f"systemctl enable {UNIT} failed, without which nothing is changed: {outcome.reason}")
        if wanted.parent.is_dir():
            sync(wanted.parent)

    def _install_script(self) -> None:
        script = self._home / "restore"
        if read_text(str(script)) != SCRIPT:
            write_atomically(script, SCRIPT, 0o700)
            sync(self._home)

    def _manifest(self, token: str, old: str, files: Sequence[str], commands: Sequence[str]) -> list[str]:
        """Save what is not saved yet; return the manifest's lines."""
        entries = [line for line in old.splitlines() if line.partition(" ")[0] not in {"token", "marker"}]
        known = set(_state(old).files) if old else set()
        for number, path in enumerate(dict.fromkeys(files)):
            place = self._node.path(path)
            if not path.startswith("/") or path != path.strip() or not path.isprintable():
                raise UserError(f"{path!r} cannot be kept: wanted is an absolute path without line breaks")
            if str(place) not in known:
                entries.append(self._save(place, f"{token}-{number}"))
        entries += [command for command in dict.fromkeys(commands) if command not in entries]
        if any("\n" in entry for entry in entries):
            raise UserError("a command of a rollback has a line break in it")
        return [f"token {token}", f"marker {self._marker}", *entries]

    def _save(self, place: Path, name: str) -> str:
        """Keep one file with owner and mode; return its line."""
        saved = self._folder / name
        saved.unlink(missing_ok=True)
        try:
            status = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return f"none {place}"
        if stat.S_ISLNK(status.st_mode):
            saved.symlink_to(place.readlink())
        elif stat.S_ISREG(status.st_mode):
            write_atomically(saved, place.read_bytes(), stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))
        else:
            raise UserError(f"{place} is neither a file nor a link: move it away")
        return f"file {name} {place}"

    def _start_timer(self, seconds: int, token: str) -> None:
        # Restart: a way back that is killed, or meets a full card, is tried again.
        outcome = self._node.run(
            "systemd-run",
            f"--unit={self._timer(token)}",
            f"--on-active={seconds}s",
            "--timer-property=AccuracySec=100ms",
            "--property=Type=oneshot",
            "--property=Restart=on-failure",
            "--property=RestartSec=5s",
            f"--description=Put {self.name} back unless it is confirmed",
            "/bin/sh",
            str(self._home / "restore"),
            self.name,
            token,
        )
        if not outcome.ok:
            raise UserError(f"no timer could be started, without which nothing is changed: {outcome.reason}")

    def _stop_timer(self, token: str) -> None:
        # Its failure does no harm: a timer that fires for an arming that is over does nothing.
        self._node.run("systemctl", "stop", f"{self._timer(token)}.timer")

    def _timer(self, token: str) -> str:
        return f"picluster-rollback-{self.name}-{token[:16]}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep others out, the shell script too; a killed holder lets go."""
        with (self._home / "lock").open("w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _token(text: str) -> str:
    return text.partition("token ")[2].partition("\n")[0]


def _state(text: str, *, restoring: bool = False) -> State:
    files = []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "none":
            files.append(rest)
        elif word == "file":
            files.append(rest.partition(" ")[2])
    return State(_token(text), tuple(files), restoring)
