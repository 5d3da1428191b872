# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node's files: read, compare, record the difference, replace atomically."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node


# The errors of a card that is full, mounted read-only after an error, or worn out.
CARD_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def read_text(path: str) -> str | None:
    """Return the text of a file, or None where there is none.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Exclude other holders of a folder on this machine; the lock ends with the process, so it is never stale.

    The folder itself is locked: its files are replaced, and a lock file would be one more file in it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the card."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def printable(text: str) -> str:
    """Return a text that Ansible can send: without bytes that are not UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


@contextlib.contextmanager
def atomic_stream(path: Path, mode: int = 0o644, owner: tuple[int, int] | None = None) -> Iterator[IO[bytes]]:
    """Open a file that replaces `path` when all is written; if the block raises, nothing remains.

    A reader, or a power cut, sees the old or the new content and nothing between. AnsibleModule.atomic_move gives a new
    file the umask's mode, a secret's too; here owner (None for the running user) and mode are right before the file has
    its name. The temporary file is `.<name>.<random>` beside it, in a directory that exists.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: str | bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Write a whole file by atomic_stream()."""
    with atomic_stream(path, mode, owner) as stream:
        stream.write(data.encode(errors="surrogateescape") if isinstance(data, str) else data)


def describe_write_error(error: OSError, path: str = "", verb: str = "written") -> str:
    """Return one sentence about `path`, or the file that the error names, that could not be `verb`."""
    name = path or error.filename
    what = f"{name} cannot be {verb}" if name else "a file cannot be written"
    hint = "; check the card: it is full, read-only or broken" if error.errno in CARD_ERRORS else ""
    return f"{what}: {error.strerror or error}{hint}"


class Files:
    """The node's files; every change is in the node's diff, and none happens in check mode.

    A write is a rename within the directory, so a power cut leaves the old content or the new, never a part.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def read(self, path: str) -> str | None:
        """Return a file's text, or None where there is none."""
        with user_errors(path, "read"):
            return read_text(str(self._node.path(path)))

    def put(  # noqa: PLR0913 - each is a property of the file, by name
        self,
        path: str,
        text: str | None,
        mode: int = 0o644,
        *,
        owner: tuple[int, int] | None = None,
        may_be_mount: bool = False,
        show: Callable[[str], str] = str,
        parents: int = 0o755,
    ) -> bool:
        """Write a file unless it is right already; return whether it was not.

        Args:
            path: Absolute path on the node.
            text: The whole desired text; None for no file.
            mode: The desired permission bits.
            owner: Desired user and group id; None leaves an existing file's owner alone.
            may_be_mount: The file can be a mount point (a container's /etc/hosts), which cannot be renamed over and is
                written in place.
            show: Turns the old and the new text into what the diff may show, for files with secrets.
            parents: Mode of parent directories that are created.
        """
        if text is None:
            return self.remove(path, show=show)
        place = self._node.path(path)
        before = self.read(path)
        status = None if before is None else place.stat()
        mode_before = None if status is None else status.st_mode & 0o7777
        right_owner = owner is None or (status is not None and (status.st_uid, status.st_gid) == owner)
        if before == text and mode_before == mode and right_owner:
            return False
        if before == text and status is not None:
            self._note_mode(path, status, mode, owner)
        else:
            self.note(path, None if before is None else show(before), show(text))
        if self._node.check_mode:
            return True
        with user_errors(path):
            place.parent.mkdir(mode=parents, parents=True, exist_ok=True)
            if before == text and right_owner:
                place.chmod(mode)
            else:
                _write(place, text, mode, owner, may_be_mount=may_be_mount)
        return True

    def put_bytes(self, path: str, data: bytes, mode: int = 0o644, *, title: str) -> bool:
        """Write a binary file, `title` in the diff, unless it is right already; return whether it was not."""
        place = self._node.path(path)
        found = place.is_file()
        if found and place.read_bytes() == data:
            return False
        self._node.note(path, "other content" if found else "", title)
        if not self._node.check_mode:
            with user_errors(path):
                place.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(place, data, mode)
        return True

    def link(self, path: str, target: str) -> bool:
        """Have a symbolic link point to `target`; return whether it did not."""
        place = self._node.path(path)
        before = str(place.readlink()) if place.is_symlink() else ""
        if before == target:
            return False
        self._node.note(path, f"-> {before}" if before else "", f"-> {target}")
        if not self._node.check_mode:
            with user_errors(path):
                place.parent.mkdir(parents=True, exist_ok=True)
                fresh = place.with_name(f".{place.name}.picluster-new")
                fresh.unlink(missing_ok=True)
                fresh.symlink_to(target)
                fresh.replace(place)
        return True

    def remove(self, path: str, *, show: Callable[[str], str] = str, title: str = "") -> bool:
        """Remove a file or a link if there is one; return whether there was.

        `show` turns the old text into what the diff may show; a `title` stands for a binary content, which is not read.
        """
        place = self._node.path(path)
        if not os.path.lexists(place):
            return False
        if place.is_symlink():
            before = f"-> {place.readlink()}\n"
        else:
            before = f"{title}\n" if title else show(self.read(path) or "")
        self.note(path, before, None)
        if not self._node.check_mode:
            with user_errors(path, "removed"):
                place.unlink(missing_ok=True)
        return True

    def note(self, path: str, before: str | None, after: str | None) -> None:
        """Record a file's texts for the diff, None for no file."""
        self._node.diff.append(
            {
                "before_header": path if before is not None else f"{path} (absent)",
                "after_header": path if after is not None else f"{path} (absent)",
                "before": printable(before or ""),
                "after": printable(after or ""),
            }
        )

    def _note_mode(self, path: str, status: os.stat_result, mode: int, owner: tuple[int, int] | None) -> None:
        before, after = f"mode: {status.st_mode & 0o7777:04o}\n", f"mode: {mode:04o}\n"
        if owner is not None and owner != (status.st_uid, status.st_gid):
            before += f"owner: {status.st_uid}:{status.st_gid}\n"
            after += f"owner: {owner[0]}:{owner[1]}\n"
        self._node.note(path, before, after)


def _write(place: Path, text: str, mode: int, owner: tuple[int, int] | None, *, may_be_mount: bool) -> None:
    try:
        write_atomically(place, text, mode, owner)
    except OSError as error:
        if not may_be_mount or error.errno != errno.EBUSY:
            raise
        place.write_text(text, encoding="utf-8", errors="surrogateescape")
        place.chmod(mode)


@contextlib.contextmanager
def user_errors(path: str, verb: str = "written") -> Iterator[None]:
    """Turn what the system answers about a path into a sentence, under the name that the user knows."""
    try:
        yield
    except OSError as error:
        raise UserError(describe_write_error(error, path, verb)) from error
