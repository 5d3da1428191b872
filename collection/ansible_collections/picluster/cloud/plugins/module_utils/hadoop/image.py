# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The NameNode's image: whether it is new, lost or there, and its first format.

The cluster id is derived from the inventory's secret, so the DataNodes accept an HDFS that was formatted a second time:
they join it, and every file of the first one is out of reach.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import NAME_DIR
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.services import complaint, run_tool
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import sync

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

# Outside of Hadoop's data, on the system's own disk: it stays where a disk with the name directory is unmounted.
MARK = "/var/lib/picluster/hadoop"
_SCRATCH = ".formatting"
_FORMAT_SECONDS = 300
# `[SSD]file:///mnt/disk` is a data directory with its storage type.
_STORAGE_TYPE = re.compile(r"^\[\w+\]")
_CLUSTER_ID = re.compile(r"^clusterID=(\S+)$", re.MULTILINE)


def parse_data_dirs(value: str) -> list[str]:
    """Return the paths in dfs.datanode.data.dir: paths or file URIs, separated by commas."""
    folders = [_STORAGE_TYPE.sub("", part.strip()) for part in value.split(",")]
    return [unquote(urlsplit(folder).path) for folder in folders if folder]


class NameNodeImage:
    """The image in the NameNode's directory of this node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._place = node.path(NAME_DIR)

    def cluster(self) -> str:
        """Return the cluster id of the image, empty where there is no image."""
        found = _CLUSTER_ID.search(self._node.files.read(f"{NAME_DIR}/current/VERSION") or "")
        return found.group(1) if found else ""

    def is_new(self) -> bool:
        """Return whether the name directory must be formatted; refuse one that holds something else than an image."""
        entries = {path.name for path in self._place.iterdir()} if self._place.is_dir() else set()
        if "current" in entries:
            if (self._place / "current/VERSION").exists():
                return False
            raise UserError(
                f"{NAME_DIR}/current has no VERSION: the image is damaged, or the data is not HDFS'; restore it from a "
                "copy, or move it away if it is worthless"
            )
        foreign = sorted(entries - {_SCRATCH, "lost+found", "in_use.lock"})
        if foreign:
            raise UserError(f"{NAME_DIR} contains no NameNode image, but {foreign[0]!r}; move that away")
        return True

    def refuse_lost(self, name: str, data_dirs: str, formatted_on: Iterable[str]) -> None:
        """Refuse a format where there is evidence of an HDFS that was formatted before.

        Args:
            name: This node's name.
            data_dirs: The value of dfs.datanode.data.dir on this node.
            formatted_on: The nodes on which the controller saw this cluster's image.
        """
        found = [] if self._node.files.read(MARK) is None else [f"the mark {MARK}"]
        folders = parse_data_dirs(data_dirs)
        pools = [(one, pool.name) for one in folders for pool in sorted(self._node.path(one).glob("current/BP-*"))]
        found += [f"the blocks in {folder}/current/{pool}" for folder, pool in pools[:1]]
        if formatted_on:
            found.append(f"the record of {', '.join(sorted(formatted_on))} in the inventory's seen.json")
        if found:
            raise UserError(
                f"{NAME_DIR} on {name} contains no NameNode image, but HDFS was formatted before: found "
                f"{', '.join(found)}; mount or restore the directory and run the same command again, or pass "
                f"give_up_data={name} to format anew and lose every file; nothing of Hadoop was changed"
            )

    def format(self, cluster_id: str) -> None:
        """Format a new NameNode, and mark the node as formatted.

        The mark is written after the image: a run killed between them finds an image and only writes the mark, whereas
        the next run would refuse a mark without an image.
        """
        if self.is_new():
            self._node.note(NAME_DIR, "", f"formatted for cluster {cluster_id}")
            if self._node.check_mode:
                return
            self._create(cluster_id)
        self._node.files.put(MARK, f"{self.cluster()}\n")

    def _create(self, cluster_id: str) -> None:
        """Format in a scratch folder, which one rename makes the image: a killed format leaves no half image."""
        scratch = self._place / _SCRATCH
        if scratch.is_dir():  # of a killed run; no NameNode ever starts from it
            shutil.rmtree(scratch)
        define = ("-D", f"dfs.namenode.name.dir=file://{NAME_DIR}/{_SCRATCH}")
        command = ("hdfs", "namenode", *define, "-format", "-nonInteractive", "-clusterId", cluster_id)
        outcome = run_tool(self._node, "hdfs", _FORMAT_SECONDS, *command)
        if not outcome.ok or not (scratch / "current/VERSION").is_file():
            raise UserError(f"the NameNode could not be formatted (exit code {outcome.code}): {complaint(outcome)}")
        (scratch / "current").rename(self._place / "current")
        scratch.rmdir()
        # On the disk before the mark is: after a power cut there must not be a mark alone.
        for path in (*(self._place / "current").iterdir(), self._place / "current", self._place):
            sync(path)
