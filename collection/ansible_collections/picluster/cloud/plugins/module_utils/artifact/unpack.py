# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Unpack a release archive without its top directory, trusting nothing in it.

tarfile's own filter 'data' came to Python 3.11.4; Debian bookworm has 3.11.2, so the same rules are kept here.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.digest import CHUNK, ArtifactError

if TYPE_CHECKING:
    from collections.abc import Sequence


def inner_path(name: str) -> PurePosixPath | None:
    """Strip the top directory from a member's name.

    Returns:
        The path below the top directory, None for the top directory itself.

    Raises:
        ArtifactError: When the name leaves the archive.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ArtifactError(f"the archive has the member '{name}', which would be written outside of it")
    return PurePosixPath(*path.parts[1:]) if len(path.parts) > 1 else None


def is_excluded(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    """Tell whether a path, or a directory above it, matches a shell pattern."""
    places = [str(path), *(str(parent) for parent in path.parents)]
    return any(fnmatch.fnmatchcase(place, pattern) for pattern in patterns for place in places)


def unpack(archive: Path, target: Path, exclude: Sequence[str] = ()) -> int:
    """Unpack a tar archive (plain, gz, bz2, xz) into a new directory, without the archive's top directory.

    Owners become the caller, modes 0755 or 0644; devices are refused; links stay inside.

    Returns:
        The number of files.

    Raises:
        ArtifactError: When the archive is damaged or holds what a release never holds.
    """
    target.mkdir(mode=0o755)
    links: list[tuple[Path, str]] = []
    count, top = 0, ""
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                inner = inner_path(member.name)
                first = PurePosixPath(member.name).parts[:1]
                if first and top not in ("", first[0]):
                    raise ArtifactError(f"the archive has more than one top directory ({top}, {first[0]})")
                top = first[0] if first else top
                if inner is None:
                    if first and not member.isdir():
                        raise ArtifactError(f"the archive has '{member.name}' beside its top directory")
                    continue
                if is_excluded(inner, exclude):
                    continue
                _place(tar, member, target / inner, target, links)
                count += not member.isdir()
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ArtifactError(f"the archive cannot be unpacked ({error})") from error
    # Last, so that no member is ever written through a link.
    for link, goal in links:
        _make_link(link, goal, target)
    if not count:
        raise ArtifactError("the archive holds no files")
    return count


def _place(
    tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, root: Path, links: list[tuple[Path, str]]
) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if member.isdir():
        path.mkdir(mode=0o755, exist_ok=True)
    elif member.isreg():
        source = tar.extractfile(member)
        if source is None:
            raise ArtifactError(f"the archive's '{member.name}' has no content")
        with source, path.open("wb") as stream:
            shutil.copyfileobj(source, stream, CHUNK)
        path.chmod(0o755 if member.mode & 0o100 else 0o644)
        os.utime(path, (member.mtime, member.mtime))
    elif member.issym():
        links.append((path, member.linkname))
    elif member.islnk():
        inner = inner_path(member.linkname)
        if inner is None or not (root / inner).is_file():
            raise ArtifactError(f"the archive's '{member.name}' is a link to '{member.linkname}', which is not in it")
        path.unlink(missing_ok=True)
        path.hardlink_to(root / inner)
    else:
        raise ArtifactError(f"the archive's '{member.name}' is neither file nor directory nor link")


def _make_link(link: Path, goal: str, root: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(goal)
    if not Path(os.path.realpath(link)).is_relative_to(os.path.realpath(root)):
        link.unlink()
        raise ArtifactError(f"the archive's link '{link.relative_to(root)}' points outside of it, to '{goal}'")
