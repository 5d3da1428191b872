# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Unpack a release archive without its top directory, trusting nothing in it.

tarfile's own filter 'data' came with Python 3.11.4; Debian bookworm has 3.11.2, so its rules are implemented here.
"""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import lzma
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.digest import CHUNK
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def inner_path(name: str) -> PurePosixPath | None:
    """Return the path of a member below the top directory, None for that itself; refuse one that leads outside."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UserError(f"the archive is unsafe: '{name}' would be written outside of it")
    return PurePosixPath(*path.parts[1:]) if len(path.parts) > 1 else None


def is_excluded(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    """Return whether a path, or a directory above it, matches a shell pattern."""
    places = [str(path), *(str(parent) for parent in path.parents)]
    return any(fnmatch.fnmatchcase(place, pattern) for pattern in patterns for place in places)


def unpack(archive: Path, target: Path, exclude: Sequence[str] = ()) -> int:
    """Unpack a tar archive (plain, gz, bz2, xz) into a new directory, without the archive's top directory.

    The caller owns all files, modes are 0755 or 0644; devices are refused; links stay inside. Return the number of
    files.

    Raises:
        UserError: The archive is damaged, or contains what a release never contains.
    """
    target.mkdir(mode=0o755)
    links: list[tuple[Path, str]] = []
    count, top = 0, ""
    with contextlib.ExitStack() as stack:
        with _reading():
            tar = stack.enter_context(tarfile.open(archive, "r:*"))
        while member := _next(tar):
            inner = inner_path(member.name)
            first = PurePosixPath(member.name).parts[:1]
            if first and top not in ("", first[0]):
                raise UserError(f"the archive has more than one top directory: {top}, {first[0]}")
            top = first[0] if first else top
            if inner is None:
                if first and not member.isdir():
                    raise UserError(f"the archive has a file beside its top directory: '{member.name}'")
                continue
            if is_excluded(inner, exclude):
                continue
            _place(tar, member, target / inner, target, links)
            count += not member.isdir()
    # Last, so that no member is ever written through a link.
    for link, goal in links:
        _make_link(link, goal, target)
    if not count:
        raise UserError("the archive contains no files")
    return count


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Turn what tarfile and the decompressors raise for damaged data into a sentence."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, ValueError) as error:
        raise UserError(f"the archive is damaged: {error}") from error


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    with _reading():
        return tar.next()


def _place(
    tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, root: Path, links: list[tuple[Path, str]]
) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if member.isdir():
        path.mkdir(mode=0o755, exist_ok=True)
    elif member.isreg():
        source = tar.extractfile(member)
        if source is None:
            raise UserError(f"the archive is damaged: '{member.name}' has no content")
        with source, path.open("wb") as stream, _reading():
            shutil.copyfileobj(source, stream, CHUNK)
        path.chmod(0o755 if member.mode & 0o100 else 0o644)
        os.utime(path, (member.mtime, member.mtime))
    elif member.issym():
        links.append((path, member.linkname))
    elif member.islnk():
        inner = inner_path(member.linkname)
        if inner is None or not (root / inner).is_file():
            raise UserError(f"the archive is unsafe: '{member.name}' links to '{member.linkname}', which is not in it")
        path.unlink(missing_ok=True)
        os.link(root / inner, path)  # Path.hardlink_to came with Python 3.10
    else:
        raise UserError(f"the archive is unsafe: '{member.name}' is neither a file, a directory nor a link")


def _make_link(link: Path, goal: str, root: Path) -> None:
    if "\0" in goal:
        raise UserError(f"the archive is unsafe: the target of link '{link.relative_to(root)}' contains a null byte")
    link.unlink(missing_ok=True)
    link.symlink_to(goal)
    if not Path(os.path.realpath(link)).is_relative_to(os.path.realpath(root)):
        link.unlink()
        raise UserError(f"the archive is unsafe: link '{link.relative_to(root)}' points outside of it, to '{goal}'")
