# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role hadoop, for the inventory check. Pure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import (
    DEFAULT_HEAPS,
    DEFAULT_MEMORY,
    check_block_size,
    check_memory,
    check_package,
    check_sites,
    check_version,
    read_properties,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.forms import (
    check_checksums,
    check_path,
    check_url,
    check_users,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MOST_MIB = 1 << 20
# What a JVM with a task of MapReduce needs at least, and what a daemon does.
_TASK, _HEAP = Bounds(128, _MOST_MIB, "MiB"), Bounds(64, _MOST_MIB, "MiB")
BOUNDS = {
    # 0 is as many as there are workers, 3 at most; more than dfs.replication.max, the NameNode refuses.
    "replication": Bounds(0, 512),
    # The NameNode refuses smaller blocks (dfs.namenode.fs-limits.min-block-size).
    "block_size": Bounds(1 << 20, 1 << 40, "bytes"),
    "disk_reserved": Bounds(0, 1 << 50, "bytes"),
    "vcores": Bounds(1, 1024),
    "memory.nodemanager": _TASK,
    "memory.minimum": Bounds(1, _MOST_MIB, "MiB"),
    **{f"memory.{name}": _TASK for name in ("am", "map", "reduce")},
    # MapTask refuses a buffer of 2 GB.
    "memory.sort": Bounds(1, 2047, "MiB"),
    **{f"heaps.{daemon}": _HEAP for daemon in DEFAULT_HEAPS},
    "check_timeout": Bounds(1, 86400, "seconds"),
    "health_within": Bounds(0, 86400, "seconds"),
}
CHECKS: dict[str, Callable[[Any], object]] = {
    "memory": lambda sizes: check_memory({**DEFAULT_MEMORY, **sizes}),
    "block_size": check_block_size,
    "users": partial(check_users, "users"),
    "check_user": lambda user: check_users("check_user", [user]),
    "java_home": partial(check_path, "java_home"),
    "check_text": partial(check_path, "check_text"),
    "version": check_version,
    "java_package": check_package,
    "url": partial(check_url, "url", schemes=("https", "http")),
    "checksum_url": partial(check_url, "checksum_url"),
    # Empty for none.
    "archive_url": lambda url: url and check_url("archive_url", url),
    "checksums": lambda checksums: check_checksums(checksums.values()),
    "properties": read_properties,
}
NAMES: dict[str, Callable[[Iterable[str]], object]] = {"properties": check_sites}
