# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What Hadoop requires of the cluster as a whole, for the inventory check. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import check_replication
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

# Those of Hadoop's releases, by Debian's names.
ARCHS = ("amd64", "arm64")


def cluster_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what is wrong with the groups hadoop_master and hadoop_worker."""
    masters, workers = inventory.members("hadoop_master"), inventory.members("hadoop_worker")
    if workers and not masters:
        yield Problem(
            "hadoop_worker has nodes, but hadoop_master has none; add a node to hadoop_master", group="hadoop_worker"
        )
    if masters and not workers:
        yield Problem(
            "hadoop_master has a node, but hadoop_worker has none; add the nodes that store and compute to "
            "hadoop_worker, or the master itself if there is no other node",
            group="hadoop_master",
        )


def setting_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what does not fit the nodes: more copies than workers, boards that Hadoop is not built for."""
    workers = inventory.members("hadoop_worker")
    for node, variables in inventory.variables.items():
        group = next((one for one in ("hadoop_worker", "hadoop_master") if node in inventory.members(one)), "")
        copies, arch = variables.get("hadoop_replication"), variables.get("node_arch")
        if group and arch == "armhf":
            yield Problem(
                f"node_arch is {arch}, for which there is no release of Hadoop (only {' and '.join(ARCHS)}); install a "
                f"64-bit system on the board, or remove the node from {group}",
                key="node_arch",
                node=node,
            )
        if isinstance(copies, int) and workers:
            try:
                check_replication(copies, len(workers))
            except UserError as error:
                yield Problem(f"hadoop_{error}", key="hadoop_replication", node=node)
