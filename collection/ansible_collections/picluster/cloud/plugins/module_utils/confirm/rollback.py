# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The node's half of commit-confirm: save what a change replaces, restore it unless it is confirmed in time.

A module arms the rollback before it changes anything, then makes the change; the controller logs in over a fresh
connection and confirms. If the window ends in any other way (no confirmation, a kill, a power cut), the old files are
restored: by a timer, or by a unit at the next boot, before the network and sshd start.
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
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import (
    describe_write_error,
    read_text,
    sync,
    write_atomically,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.guard import CONFIRM_WITHIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

UNIT_PATH = f"/etc/systemd/system/{UNIT}"
# In /run, so that a reboot removes it: it shows the unit whether the rollback was armed in this boot or before a power
# cut (systemd starts what sysinit.target wants whenever it starts another unit).
MARKERS = "/run/picluster-rollback"

# Options of every module that arms, beside the documentation fragment picluster.cloud.confirmed.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "confirm_within": {"type": "int", "default": 60},
    # Not a secret: using it on the node takes root.
    "confirm_token": {"type": "str", "no_log": False},
}
# Seconds to wait for another call on the same node; no call takes that long.
PATIENCE = 60

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_TOKEN = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True)
class State:
    """An armed rollback.

    Attributes:
        token: Identifies the arming.
        files: The paths that would be restored.
        restoring: The restore has begun (and was killed, unless the lock is held); a confirmation is too late.
    """

    token: str
    files: tuple[str, ...]
    restoring: bool = False


def parse_manifest(text: str, *, restoring: bool = False) -> State:
    """Return what a manifest, which the restore script reads as well, says line by line: one word, then its value."""
    token, files = "", []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "token":
            token = rest
        elif word == "none":
            files.append(rest)
        elif word == "file":
            files.append(rest.partition(" ")[2])
    return State(token, tuple(files), restoring)


class Rollback:
    """One named rollback of a node.

    In a module::

        rollback = Rollback(node, "sshd")
        with rollback.alone():
            if rollback.resume() or desired != present:
                confirm = rollback.arm(seconds, token, [DROPIN], [["systemctl", "reload", "ssh.service"]])
                with rollback.undo_on_failure():
                    ...  # change the files and apply them
                return {"confirm": confirm}  # for the action plugin

    Its name is one word such as sshd.
    """

    def __init__(self, node: Node, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise UserError(f"the name of a rollback is invalid: {name!r}; expected lowercase letters, digits, _ and -")
        self.name = name
        self._node = node
        self._home = node.path(FOLDER)
        self._folder = self._home / name
        self._done = self._home / f"{name}.confirmed"
        self._marker = node.path(MARKERS) / name

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Exclude other calls that would change the same files: a killed run leaves its call running on the node.

        Raises UserError if another call is still running after a minute.
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
                            f"another run is still changing {self.name} on this node; wait for it to finish, then run "
                            "the playbook again"
                        ) from error
                    time.sleep(0.2)
            yield

    def state(self) -> State | None:
        """Return the armed rollback, or None."""
        for part in ("manifest", "restoring"):
            text = read_text(str(self._folder / part))
            if text is not None:
                return parse_manifest(text, restoring=part == "restoring")
        return None

    def resume(self) -> bool:
        """Finish a restore that was interrupted; return whether an earlier run's change is still unconfirmed.

        Call it before planning, so that the plan does not start from partly restored files. Raises UserError if a file
        could not be restored; the timer tries again.
        """
        found = self.state()
        if found and found.restoring:
            self._node.note(self.name, "partly rolled back", "rolled back")
            self.undo()
            return False
        return found is not None

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
        """Save `files` and have them restored after `seconds`; call it before any of them changes.

        Armed already (by a run that was killed), the older state of both runs' files remains the one to restore.

        Args:
            seconds: Time until the node rolls back, unless `confirm` comes first.
            token: The caller's hexadecimal mark of this arming; None makes one.
            files: Absolute paths that are about to be changed, created or removed: text, binary or symbolic links.
            restore: Commands that apply the files once they are restored.
            at_boot: Commands that do so at boot, before network and sshd start; most changes need none then. They
                must not talk to services.
            at_confirm: Commands that end what was only meant for the window, such as a second address. They run before
                the change is permanent, so that a node that is killed in between still rolls back.

        Returns:
            What the module hands to its action plugin as `confirm`: name, token, within.

        Raises:
            UserError: it cannot be armed; nothing new is armed then.
            OSError: the same, because of the card.
        """
        CONFIRM_WITHIN.check("confirm_within", seconds)
        try:
            commands = [
                f"{word} {shlex.join(command)}"
                for word, group in (("run", restore), ("boot", at_boot), ("confirm", at_confirm))
                for command in group
            ]
            return self._arm(seconds, token or secrets.token_hex(16), files, commands)
        except OSError as error:
            # A failed write does not name its file.
            error.filename = error.filename or str(self._folder)
            raise

    def _arm(self, seconds: int, token: str, files: Sequence[str], commands: Sequence[str]) -> dict[str, Any]:
        if not _TOKEN.fullmatch(token):
            raise UserError(f"confirm_token is invalid: {token!r}; expected 16 to 64 hexadecimal digits")
        self._install()
        before = self.state()
        if before and before.restoring:
            # Files that are only partly restored must not be saved as the old state.
            self.undo()
        with self._locked():
            if (self._folder / "restoring").exists():
                # Begun and killed since undo(): what is saved there is the only copy of the old state.
                raise UserError(f"the rollback of {self.name} was interrupted just now; run the playbook again")
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
            # From an older change; from now on it would mean that another run confirmed this one.
            self._done.unlink(missing_ok=True)
            sync(self._folder)
            sync(self._home)
        if old is not None:
            self._stop_timer(parse_manifest(old).token)
        return {"name": self.name, "token": token, "within": seconds}

    def confirm(self, token: str) -> bool:
        """Make the change that was armed with `token` permanent; return False if that was done before.

        Raises UserError if it is too late, or another run has armed since.
        """
        if not self._home.is_dir():
            raise UserError(f"no change of {self.name} is waiting for confirmation; run the playbook again")
        with self._locked():
            present = self.state()
            if present is None or present.restoring:
                # The answer to an earlier confirmation was lost, and the controller repeats it.
                last = read_text(str(self._done))
                if not present and token == parse_manifest(last or "").token:
                    return False
                if not present and last is not None:
                    raise UserError(f"another run has changed and confirmed {self.name} since")
                late = f"the confirmation of {self.name} came too late: the rollback had already begun"
                raise UserError(f"{late}; run the playbook again")
            if present.token != token:
                raise UserError(f"another run has changed {self.name} since")
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
        """Roll back now, or wait for a restore that has begun; return False if nothing is armed, or in check mode.

        With a token, only this arming is rolled back. Raises UserError if a file could not be restored; the timer tries
        again.
        """
        present = self.state()
        if present is None or self._node.check_mode:
            return False
        if token is not None and present.token != token and not present.restoring:
            return False
        # An older script may have failed to finish; on a full card it has to do.
        with contextlib.suppress(OSError):
            self._install_script()
        command = ["/bin/sh", str(self._home / "restore"), self.name, *([token] if token else [])]
        outcome = self._node.run(*command)
        if not outcome.ok:
            raise UserError(f"the rollback of {self.name} failed: {outcome.reason}; the node tries again by itself")
        self._stop_timer(present.token)
        return True

    def fate(self, token: str) -> str:
        """Return what became of a change: pending, confirmed, superseded (by another run's) or rolled back."""
        present, last = self.state(), read_text(str(self._done))
        if present is None and last is None:
            return "rolled back"  # with any later change: arming removes the mark of an older confirmation
        own = token == (present or parse_manifest(last or "")).token
        return ("pending" if present else "confirmed") if own else "superseded"

    @contextlib.contextmanager
    def undo_on_failure(self) -> Iterator[None]:
        """Roll back at once if the change fails; raise UserError with what failed, and whether the rollback did."""
        try:
            yield
        except (UserError, OSError) as error:
            try:
                outcome = "; the node has been rolled back" if self.undo() else ""
            except (UserError, OSError) as second:
                outcome = f"; {_sentence(second)}"
            raise UserError(f"{_sentence(error)}{outcome}") from error
        except Exception:
            # A bug, which must stay visible as one; the timer tries again where this rollback fails.
            with contextlib.suppress(UserError, OSError):
                self.undo()
            raise

    def _install(self) -> None:
        """Install the script and the boot unit."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._home.chmod(0o700)
        self._install_script()
        unit = self._node.path(UNIT_PATH)
        link = unit.parent / "sysinit.target.wants" / UNIT
        if read_text(str(unit)) == UNIT_TEXT and link.is_symlink():
            return
        unit.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(unit, UNIT_TEXT)
        sync(unit.parent)
        self._require(f"systemctl enable {UNIT} failed", "systemctl", "enable", UNIT)
        if link.parent.is_dir():
            sync(link.parent)

    def _install_script(self) -> None:
        script = self._home / "restore"
        if read_text(str(script)) != SCRIPT:
            write_atomically(script, SCRIPT, 0o700)
            sync(self._home)

    def _manifest(self, token: str, old: str, files: Sequence[str], commands: Sequence[str]) -> list[str]:
        """Save the files that are not saved yet; return the manifest's lines."""
        entries = [line for line in old.splitlines() if line.partition(" ")[0] not in {"token", "marker"}]
        known = set(parse_manifest(old).files) if old else set()
        for number, path in enumerate(dict.fromkeys(files)):
            place = self._node.path(path)
            if not path.startswith("/") or path != path.strip() or not path.isprintable():
                raise UserError(f"a path cannot be saved: {path!r}; expected an absolute path without line breaks")
            if str(place) not in known:
                entries.append(self._save(place, f"{token}-{number}"))
        entries += [command for command in dict.fromkeys(commands) if command not in entries]
        if any("\n" in entry for entry in entries):
            raise UserError("a command of the rollback contains a line break; remove it")
        return [f"token {token}", f"marker {self._marker}", *entries]

    def _save(self, place: Path, name: str) -> str:
        """Save one file with owner and mode; return its line."""
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
            raise UserError(f"{place} cannot be saved: it is neither a file nor a symbolic link; move it away")
        return f"file {name} {place}"

    def _start_timer(self, seconds: int, token: str) -> None:
        # Restart: a restore that is killed, or meets a full card, is tried again.
        self._require(
            "the rollback timer failed to start",
            "systemd-run",
            f"--unit={self._timer(token)}",
            f"--on-active={seconds}s",
            "--timer-property=AccuracySec=100ms",
            "--property=Type=oneshot",
            "--property=Restart=on-failure",
            "--property=RestartSec=5s",
            f"--description=Roll {self.name} back unless it is confirmed",
            "/bin/sh",
            str(self._home / "restore"),
            self.name,
            token,
        )

    def _require(self, failure: str, *command: str) -> None:
        outcome = self._node.run(*command)
        if not outcome.ok:
            raise UserError(f"{failure}: {outcome.reason}; without a rollback nothing is changed")

    def _stop_timer(self, token: str) -> None:
        # A failure is harmless: a timer that fires for an arming that is over does nothing.
        self._node.run("systemctl", "stop", f"{self._timer(token)}.timer")

    def _timer(self, token: str) -> str:
        return f"picluster-rollback-{self.name}-{token[:16]}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other holders, the shell script included; a killed holder releases the lock."""
        with (self._home / "lock").open("w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _sentence(error: UserError | OSError) -> str:
    return describe_write_error(error) if isinstance(error, OSError) else str(error)
