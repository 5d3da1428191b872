# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Layers that a run would remove from several nodes, or from the last one: more often a slip than the intention.

The former state is what earlier runs recorded of each node (seen.json).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import wrong_name
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen, layers_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.layers import Layer

CONFIRM = "confirm_removal"
ROLES_FILE = "20-roles.yml"


def removal_problems(
    inventory: Inventory, layers: Sequence[Layer], reached: Collection[str], extra: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yield the layers that a run would remove and that `confirm_removal` does not name.

    `reached` are the nodes of the run, `extra` the variables of the command line, which alone can confirm.
    """
    confirmed = [name for name in map(str.strip, str(extra.get(CONFIRM, "")).split(",")) if name]
    names = [layer.name for layer in layers]
    for node, variables in inventory.variables.items():
        if CONFIRM in variables and CONFIRM not in extra:
            text = f"{CONFIRM} is valid for one run only; remove it, and give it on the command line: -e {CONFIRM}=..."
            yield Problem(text, key=CONFIRM, node=node)
        for name in (name for name in confirmed if name not in names):
            yield Problem(f"{CONFIRM}: {wrong_name(name, names, 'a layer')}", key=CONFIRM, node=node)
    folders = {str(raw["inventory_dir"]) for raw in inventory.variables.values() if raw.get("inventory_dir")}
    recorded: dict[str, list[str]] = {}
    for seen in (Seen(folder).nodes() for folder in sorted(folders)):
        for node in (node for node in inventory.variables if node in seen):
            for name in layers_of(seen[node]):
                recorded.setdefault(name, []).append(node)
    for layer in (layer for layer in layers if layer.name not in confirmed):
        had, keep = recorded.get(layer.name, []), layer.members(inventory.groups)
        lose = [node for node in had if node in reached and node not in keep]
        if len(lose) > 1 or (lose and len(lose) == len(had)):
            them, last = ("it", "the last node with it") if len(lose) == 1 else ("them", "all nodes with it")
            yield Problem(
                f"{layer.name} would be removed from {', '.join(lose)}{f', {last}' if len(lose) == len(had) else ''}; "
                f"put {them} back into {' or '.join(layer.groups)}, or confirm with -e {CONFIRM}={layer.name}",
                group=next((name for name in layer.groups if name in inventory.groups), ""),
                file=ROLES_FILE,
            )
