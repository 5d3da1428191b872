"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from picluster.errors import PiclusterError


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
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _write_beside(path, contents)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _write_beside(path: Path, contents: bytes) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix="~")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(contents)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
