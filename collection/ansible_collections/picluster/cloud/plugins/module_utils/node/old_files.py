# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Whole text files of a node: read, compare, show the difference, replace atomically."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


# What a card that is full, mounted read-only after an error, or worn out answers.
_CARD = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def read_text(path: str) -> str | None:
    """Return the text of a file, or None where there is none.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def sync(path: Path) -> None:
    """Have a file's content, or the names in a folder, on the card."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def shown(text: str) -> str:
    """Return a text as it can be sent to the controller, which refuses an answer with bytes that are no UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def write_atomically(path: Path, data: str | bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Write a file so that a reader, or a power cut, sees the old or the new content and nothing between.

    AnsibleModule.atomic_move gives a new file the umask's mode, a secret's too; here owner and mode are right before
    the file has its name.

    Args:
        path: the file; its directory exists.
        data: the whole content.
        mode: permission bits.
        owner: user and group id, or None for the running user's.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data.encode(errors="surrogateescape") if isinstance(data, str) else data)
            stream.flush()
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def card_trouble(error: OSError, path: str = "") -> str:
    """Return one sentence about a file (`path`, if the error does not name it) that the system did not let us write."""
    name = path or error.filename
    what = f"{name} cannot be written" if name else "the node refused to write a file"
    hint = "; check the card: it is full, read-only or broken" if error.errno in _CARD else ""
    return f"{what}: {error.strerror or error}{hint}"


class TextFiles:
    """The files that one module call brings to their wanted text, with the diff of all of them.

    Nothing is written in check mode. Every write is a rename within the same directory, so a power cut leaves the old
    text or the new one, never a half.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self.diff: list[dict[str, str]] = []

    @property
    def changed(self) -> bool:
        """Whether any file was, or in check mode would be, changed."""
        return bool(self.diff)

    def put(
        self,
        path: str,
        text: str,
        mode: int = 0o644,
        *,
        may_be_mount: bool = False,
        owner: tuple[int, int] | None = None,
    ) -> bool:
        """Make `path` hold exactly `text` with `mode`; say whether that changed anything.

        Args:
            path: absolute path on the node; missing parent directories are made with mode 0755.
            text: the whole wanted text.
            mode: the wanted permission bits.
            may_be_mount: the file can be a mount point (a container's /etc/hosts), which cannot be renamed over and is
                then written in place.
            owner: user and group id; None makes a new file root's and leaves an old one's alone if its text is right.

        Raises:
            OSError: it cannot be written; `filename` is the path.
        """
        before = read_text(path)
        status = None if before is None else Path(path).stat()
        mode_before = None if status is None else status.st_mode & 0o7777
        owner_is_right = owner is None or (status is not None and (status.st_uid, status.st_gid) == owner)
        if before == text and mode_before == mode and owner_is_right:
            return False
        self._note(path, before, text, mode_before, mode)
        if self._module.check_mode:
            return True
        try:
            if before == text and owner_is_right:
                Path(path).chmod(mode)
            else:
                self._write(Path(path), text, mode, may_be_mount=may_be_mount, owner=owner)
        except OSError as error:
            # The user knows this name, not the temporary one's.
            error.filename = path
            raise
        return True

    def _write(self, path: Path, text: str, mode: int, *, may_be_mount: bool, owner: tuple[int, int] | None) -> None:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            write_atomically(path, text, mode, owner)
        except OSError as error:
            if not may_be_mount or error.errno != errno.EBUSY:
                raise
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
            path.chmod(mode)

    def remove(self, path: str) -> bool:
        """Make sure that there is no file `path`; say whether there was one."""
        before = read_text(path)
        if before is None:
            return False
        self._note(path, before, None, None, None)
        if not self._module.check_mode:
            Path(path).unlink(missing_ok=True)
        return True

    def _note(
        self, path: str, before: str | None, after: str | None, mode_before: int | None, mode: int | None
    ) -> None:
        entry: dict[str, Any] = {
            "before_header": path if before is not None else f"{path} (absent)",
            "after_header": path if after is not None else f"{path} (absent)",
            "before": shown(before or ""),
            "after": shown(after or ""),
        }
        if before == after and mode is not None and mode_before is not None:
            entry["before"] = f"mode: {mode_before:04o}\n"
            entry["after"] = f"mode: {mode:04o}\n"
        self.diff.append(entry)
