# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What Hadoop requires of the cluster as a whole, for the inventory check. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator


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
