# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Tell picluster's Hadoop from another installation on the same node. Only reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import CONF, LINK
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import software

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

MARK = b"Managed by picluster."  # in the head of every file whose format has comments
STAMP = ".picluster-sha256"  # in every tree that picluster.cloud.artifact unpacked
_HEAD_BYTES = 200
# Vouches for the files of its folder whose formats have no place for a mark. It is written before them and removed
# after them, so that a killed run leaves no doubt.
_ANCHOR = f"{CONF}/core-site.xml"
_UNMARKED = frozenset({"workers", "http-secret", "hdfs-dirs.json"})
_FOLDER = "picluster"  # a folder of this name holds only picluster's files


def is_marked(node: Node, path: str) -> bool:
    """Return whether a file has the mark in its head."""
    place = node.path(path)
    if not place.is_file():
        return False
    with place.open("rb") as stream:
        return MARK in stream.read(_HEAD_BYTES)


def file_is_ours(node: Node, path: str) -> bool:
    """Return whether picluster wrote a file."""
    if not node.path(path).is_file():
        return False
    folder, name = os.path.split(path)
    tied = name in _UNMARKED and folder == CONF
    return Path(folder).name == _FOLDER or is_marked(node, _ANCHOR if tied else path)


def link_is_ours(node: Node, home: str = "") -> bool:
    """Return whether the link leads to a tree that picluster unpacked, or to `home`.

    A dangling link is ours where the configuration is: the tree was removed by hand.
    """
    place = node.path(LINK)
    if not place.is_symlink():
        return False
    target = str(place.readlink())
    tree = node.path(str(Path(LINK).parent / target))
    if target == home or (tree / STAMP).is_file():
        return True
    return not tree.exists() and is_marked(node, _ANCHOR)


def foreign_paths(node: Node, home: str) -> list[str]:
    """Return the paths that picluster would write and that belong to another installation."""
    found = [path for path in software() if os.path.lexists(node.path(path)) and not file_is_ours(node, path)]
    if os.path.lexists(node.path(LINK)) and not link_is_ours(node, home):
        found.append(LINK)
    return found


def our_paths(node: Node) -> list[str]:
    """Return what picluster wrote, in the order in which it may be removed: the anchor last."""
    found = [path for path in software() if os.path.lexists(node.path(path)) and file_is_ours(node, path)]
    found.sort(key=lambda path: path == _ANCHOR)
    return ([LINK] if link_is_ours(node) else []) + found
