# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The groups of the layers: their nodes and number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.layers import Layer

NODES_FILE = "10-nodes.yml"


def layer_group_problems(inventory: Inventory, layers: Sequence[Layer]) -> Iterator[Problem]:
    """Yield what is wrong with the layers' groups."""
    nodes = set(inventory.members("nodes"))
    declared = {name: group for layer in layers for name, group in layer.groups.items()}
    for name, group in declared.items():
        members = inventory.members(name)
        for node in (node for node in members if node not in nodes):
            text = f"{node} is in {name}, but not in nodes; add it to {NODES_FILE}, or remove it from {name}"
            yield Problem(text, node=node, group=name)
        if len(members) > group.get("most", len(members)):
            remedy = group.get("too_many") or f"remove all but {group['most']}"
            yield Problem(f"{name} has several nodes: {', '.join(members)}; {remedy}", group=name)
