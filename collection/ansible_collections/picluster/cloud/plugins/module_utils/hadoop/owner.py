# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Whose Hadoop is it? Tells what picluster put on a node from what somebody else did. Only looks, changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

MARK = b"Managed by picluster."  # in the head of every file whose format has comments
STAMP = ".picluster-sha256"  # in every tree that picluster.cloud.artifact unpacked
HEAD_BYTES = 200
# Their formats have no place for a mark; the anchor (core-site.xml) of the same folder speaks for them. It is written
# before them and removed after them, so that a killed run leaves no doubt.
UNMARKED = frozenset({"workers", "http-secret", "hdfs-dirs.json"})
FOLDER = "picluster"  # what is in a folder by our name is ours


def is_marked(path: Path) -> bool:
    """Whether a file carries the mark in its head."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return MARK in stream.read(HEAD_BYTES)


def file_is_ours(path: Path, anchor: Path) -> bool:
    """Whether picluster wrote a file."""
    if not path.is_file():
        return False
    tied = path.name in UNMARKED and path.parent == anchor.parent
    return path.parent.name == FOLDER or is_marked(anchor if tied else path)


def link_is_ours(link: Path, anchor: Path, home: str = "") -> bool:
    """Whether a link leads to a tree that picluster unpacked, or to the one that it is told of.

    A link to nothing is ours where the configuration is: somebody removed the tree by hand.
    """
    if not link.is_symlink():
        return False
    if str(link.readlink()) == home or (link / STAMP).is_file():
        return True
    return not link.exists() and is_marked(anchor)


def foreign(paths: tuple[str, ...], link: Path, anchor: Path, home: str) -> list[str]:
    """What stands where picluster wants to write and is somebody else's."""
    found = [path for path in paths if os.path.lexists(path) and not file_is_ours(Path(path), anchor)]
    if os.path.lexists(link) and not link_is_ours(link, anchor, home):
        found.append(str(link))
    return found


def ours(paths: tuple[str, ...], link: Path, anchor: Path) -> list[str]:
    """What picluster wrote, in the order in which it may be removed: the anchor last."""
    found = [path for path in paths if os.path.lexists(path) and file_is_ours(Path(path), anchor)]
    found.sort(key=lambda path: path == str(anchor))
    return ([str(link)] if link_is_ours(link, anchor) else []) + found
