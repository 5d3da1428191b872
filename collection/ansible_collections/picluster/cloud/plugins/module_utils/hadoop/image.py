# Copyright 2026 picluster contributors
# SPDX-License-Identifier: Apache-2.0
"""Is a NameNode without an image a new one, or has it lost its name directory? Only reads; changes nothing.

The cluster id is derived from the inventory's secret, so a second format yields an HDFS that the DataNodes accept: they
join it, and every file of the first one is out of sight.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import FormatRefusedError, must_format
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable

# Outside of Hadoop's data, on the system's own disk: it stays where a disk with the name directory is unmounted.
MARK = "/var/lib/picluster/hadoop"
# `[SSD]file:///mnt/disk` is a data directory with its storage type.
_STORAGE_TYPE = re.compile(r"^\[\w+\]")
_CLUSTER_ID = re.compile(r"^clusterID=(\S+)$", re.MULTILINE)


def cluster_of(name_dir: str) -> str:
    """Return the cluster id of a NameNode's image, empty where there is no image."""
    found = _CLUSTER_ID.search(read_text(f"{name_dir}/current/VERSION") or "")
    return found.group(1) if found else ""


def marked_for() -> str | None:
    """Return the cluster id in the node's mark, None where there is no mark."""
    text = read_text(MARK)
    return None if text is None else text.strip()


def block_pools(data_dirs: str) -> list[Path]:
    """Return the block pools in a DataNode's directories.

    Args:
        data_dirs: the value of dfs.datanode.data.dir: paths or file URIs, separated by commas.
    """
    folders = [_STORAGE_TYPE.sub("", part.strip()) for part in data_dirs.split(",")]
    paths = [Path(unquote(urlsplit(folder).path)) for folder in folders if folder]
    return [pool for path in paths for pool in sorted(path.glob("current/BP-*"))]


def is_new(name_dir: str) -> bool:
    """Return whether a NameNode's directory holds no image and must be formatted.

    Raises:
        FormatRefusedError: it holds something that is no image.
    """
    name = Path(name_dir)
    current = name / "current"
    entries = {path.name for path in name.iterdir()} if name.is_dir() else set()
    return must_format(entries, {path.name for path in current.iterdir()} if current.is_dir() else set())


def refuse_lost(node: str, name_dir: str, data_dirs: str, formatted_on: Iterable[str]) -> None:
    """Refuse a format where anything knows an HDFS that was formatted before.

    Args:
        node: this node's name.
        name_dir: the NameNode's directory, which is empty or gone.
        data_dirs: the value of dfs.datanode.data.dir on this node.
        formatted_on: the nodes on which the controller saw this cluster's image.

    Raises:
        FormatRefusedError: with what was found, and the two ways out.
    """
    found = []
    if marked_for() is not None:
        found.append(f"the mark {MARK}")
    found += [f"the blocks in {pool}" for pool in block_pools(data_dirs)[:1]]
    nodes = sorted(formatted_on)
    if nodes:
        found.append(f"the record of {', '.join(nodes)} in the inventory's seen.json")
    if found:
        raise FormatRefusedError(
            f"{name_dir} on {node} contains no NameNode image, but HDFS was formatted before: found "
            f"{', '.join(found)}; mount or restore the directory and run the same command again, or pass "
            f"-e hadoop_give_up_data={node} to format anew and lose every file; nothing of Hadoop was changed"
        )
