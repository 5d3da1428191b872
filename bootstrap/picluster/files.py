"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def check_folder(folder: Path, option: str) -> None:
    """Refuse a folder, which may not exist yet, that cannot be created or written to; leave nothing behind."""
    try:
        folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise PiclusterError(
            f"{option} {folder} cannot be created: {error.strerror}; choose another directory"
        ) from error
    # A dangling symlink is in the way, too.
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        what = "a file" if there.exists() else "a dangling symlink"
        raise PiclusterError(f"{option} {folder} cannot be a directory: {there} is {what}; choose another directory")
    times = there.stat()
    try:
        # Permission bits do not say whether something can be created: root has none in /proc.
        Path(tempfile.mkdtemp(dir=there, prefix=".picluster-")).rmdir()
        # Only the owner may: who shares a directory leaves its time changed.
        with contextlib.suppress(PermissionError):
            os.utime(there, ns=(times.st_atime_ns, times.st_mtime_ns))
    except OSError as error:
        verb = "written to" if there == folder else "created"
        raise PiclusterError(
            f"{option} {folder} cannot be {verb}: {error.strerror}; choose another directory"
        ) from error


def read_text(path: Path) -> str:
    """Return the contents of a file, empty if there is none; bytes that are not UTF-8 survive a rewrite."""
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""


def write_atomically(path: Path, contents: bytes) -> None:
    """Write a file through a temporary file beside it; keep the mode of an existing file.

    An OSError has the name of this file, also where the system reports none (a full disk) or the temporary file.
    """
    write_together({path: contents})


def write_together(contents: Mapping[Path, bytes]) -> Callable[[], None]:
    """Write all these files or none, as write_atomically() does; return a function that puts back what was there.

    All are on the disk before the first gets its name, so that a disk that is full changes nothing.
    """
    with ExitStack() as undo:
        beside: dict[Path, Path] = {}
        for path, data in contents.items():
            with naming(path):
                _make_folder(path.parent, undo)
                beside[path] = _write_beside(path, data, undo)
        for path, temporary in beside.items():
            with naming(path):
                before = path.read_bytes() if path.exists() else None
                temporary.replace(path)
            undo.callback(_put_back, path, before)
        return undo.pop_all().close


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError the name of this file, also where the system reports none or a temporary file."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _make_folder(folder: Path, undo: ExitStack) -> None:
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        undo.callback(_remove_empty, one)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # something else is in it by now
        folder.rmdir()


def _write_beside(path: Path, contents: bytes, undo: ExitStack) -> Path:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix="~")
    temporary = Path(name)
    undo.callback(temporary.unlink, missing_ok=True)
    with os.fdopen(handle, "wb") as stream:
        stream.write(contents)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.chmod(mode)
    return temporary


def _put_back(path: Path, before: bytes | None) -> None:
    if before is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, before)
