# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""An artifact's place on the node: a file, or the tree inside an archive."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.unpack import unpack
from ansible_collections.picluster.cloud.plugins.module_utils.node.digest import Memo, digest
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import user_errors, write_atomically
from ansible_collections.picluster.cloud.plugins.module_utils.node.forms import parse_checksum

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

STAMP = ".picluster-sha256"
MEMO = "/var/lib/picluster/digests.json"
AS_DESIRED = "as desired"
# A transfer that has not moved for so long belongs to a run that was killed.
ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class Target:
    """The desired state of a place, named as the module's options; sha256 is empty if it is not known yet."""

    dest: str
    kind: str
    sha256: str
    mode: int = 0o755
    exclude: tuple[str, ...] = ()

    @property
    def stamp(self) -> str:
        """The text that a complete tree carries."""
        return f"{self.sha256}\n" + (f"without {json.dumps(sorted(self.exclude))}\n" if self.exclude else "")


def read_target(options: dict[str, Any]) -> Target:
    """Return the desired state from the module's options, checked."""
    sha256 = str(options["artifact"].get("sha256", ""))
    if sha256 and parse_checksum(sha256).algorithm != "sha256":
        raise UserError(f"artifact.sha256 is invalid: '{sha256}'; expected 64 hex digits")
    dest = Path(options["dest"])
    if not dest.is_absolute() or not dest.name:
        raise UserError(f"dest is invalid: '{dest}'; expected an absolute path of a file or directory below /")
    if not re.fullmatch("0?[0-7]{1,3}", options["mode"]):
        raise UserError(f"mode is invalid: '{options['mode']}'; expected octal digits such as '0755'")
    return Target(str(dest), options["kind"], sha256, int(options["mode"], 8), tuple(options["exclude"]))


class Placement:
    """The place on the node, filled by a rename so that no program ever sees it half done."""

    def __init__(self, node: Node, target: Target) -> None:
        self._node = node
        self._target = target
        self._dest = node.path(target.dest)
        # Beside the destination, so that a rename is enough.
        self._new = self._dest.with_name(f".{self._dest.name}.picluster-new")
        self._old = self._dest.with_name(f".{self._dest.name}.picluster-old")

    def repair(self) -> None:
        """Undo what a killed run left: a tree that was moved aside comes back, half-made ones go."""
        left = [path for path in (self._new, self._old) if os.path.lexists(path)]
        if self._node.check_mode or not left:
            return
        self._node.note(self._target.dest, "left behind by an interrupted run", "")
        with user_errors(self._target.dest, "put in place"):
            if self._old in left and not os.path.lexists(self._dest):
                self._old.rename(self._dest)
            for path in left:
                _remove(path)

    def state(self) -> str:
        """Return AS_DESIRED or what is there; raise UserError for what this module did not install."""
        target, dest = self._target, self._dest
        if not os.path.lexists(dest):
            return "absent"
        if target.kind == "file":
            if dest.is_symlink() or not dest.is_file():
                raise UserError(f"{target.dest} is not a regular file, so it is not replaced; move it away")
            found = Memo(self._node.path(MEMO), read_only=self._node.check_mode).digest(dest)
            if found != target.sha256:
                return f"sha256 {found}"
            mode = dest.stat().st_mode & 0o777
            return AS_DESIRED if mode == target.mode else f"mode {mode:04o}"
        try:
            stamp = (dest / STAMP).read_text(encoding="utf-8")
        except OSError as error:
            if dest.is_dir() and not any(dest.iterdir()):
                return "an empty directory"
            raise UserError(
                f"{target.dest} was not unpacked by picluster ({STAMP} is missing), so it is not replaced; move it away"
            ) from error
        return AS_DESIRED if stamp == target.stamp else f"sha256 {stamp.strip()}"

    def set_mode(self) -> None:
        """Set the mode of a file whose content is right."""
        with user_errors(self._target.dest, "put in place"):
            self._dest.chmod(self._target.mode)

    def install(self, incoming: Path) -> None:
        """Verify the transferred file and put it, or its content, in place."""
        target = self._target
        with user_errors(self._target.dest, "put in place"):
            found = digest(incoming)
            if found != target.sha256:
                raise UserError(
                    f"{target.dest} was not installed: received sha256 {found}, expected {target.sha256}; run again, "
                    "and check cable and card"
                )
            self._dest.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _remove(self._new)
            try:
                if target.kind == "file":
                    shutil.copyfile(incoming, self._new)
                    self._new.chmod(target.mode)
                else:
                    unpack(incoming, self._new, target.exclude)
                    write_atomically(self._new / STAMP, target.stamp)
                # The stamp must not survive a power cut that its files did not.
                # Hundreds of small fsyncs are slow on a card, one sync is not.
                os.sync()
                _remove(self._old)
                if target.kind == "tree" and self._dest.exists():
                    self._dest.rename(self._old)
                self._new.rename(self._dest)
            except UserError as error:
                raise UserError(f"{target.dest} was not installed: {error}; use another release file") from error
            finally:
                _remove(self._new)
                if self._dest.exists():
                    _remove(self._old)


def sweep(incoming: Path, now: float) -> None:
    """Remove archives that killed runs left beside this run's one in the login user's temporary directory."""
    for other in incoming.parent.parent.glob(f"ansible-tmp-*/{incoming.name}"):
        if other != incoming and now - other.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(other.parent, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
