# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What k3s requires of the cluster as a whole, for the inventory check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.plugin_utils.k3s.record import describe_moved_server
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator


def cluster_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what is wrong with the groups k3s_server and k3s_agent."""
    servers, agents = inventory.members("k3s_server"), inventory.members("k3s_agent")
    if agents and not servers:
        yield Problem("k3s_agent has nodes, but k3s_server has none; add a node to k3s_server", group="k3s_agent")
    for name in servers:
        if name in agents:
            yield Problem(
                f"{name} is in both k3s_server and k3s_agent; remove it from one of them", node=name, group="k3s_agent"
            )
    folders = {str(raw["inventory_dir"]) for raw in inventory.variables.values() if raw.get("inventory_dir")}
    first = next(iter(servers), "")
    text = describe_moved_server(servers, inventory.variables.get(first, {}), folders)
    if text:
        yield Problem(text, node=first, group="k3s_server")
