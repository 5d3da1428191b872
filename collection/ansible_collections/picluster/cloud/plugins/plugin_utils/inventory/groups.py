# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The groups of the layers: their nodes and number, and names that differ from theirs only by a slip.

Users may have groups of their own. A slip in the name of a layer's group would remove the layer from its nodes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.layers import Layer

NODES_FILE = "10-nodes.yml"
_OF_ANSIBLE = {"all", "ungrouped"}


def layer_group_problems(inventory: Inventory, layers: Sequence[Layer]) -> Iterator[Problem]:
    """Yield what is wrong with the layers' groups."""
    nodes = set(inventory.members("nodes"))
    declared = {name: group for layer in layers for name, group in layer.groups.items()}
    ours = ("nodes", *declared)
    for name in inventory.groups:
        meant = near_miss(name, ours) if name not in {*_OF_ANSIBLE, *ours} else ""
        if meant:
            yield Problem(f"{name} is not a group of picluster; rename it to {meant}", group=name)
    for name, group in declared.items():
        members = inventory.members(name)
        for node in (node for node in members if node not in nodes):
            text = f"{node} is in {name}, but not in nodes; add it to {NODES_FILE}, or remove it from {name}"
            yield Problem(text, node=node, group=name)
        if len(members) > group.get("most", len(members)):
            remedy = group.get("too_many") or f"remove all but {group['most']}"
            yield Problem(f"{name} has several nodes: {', '.join(members)}; {remedy}", group=name)


def near_miss(name: str, ours: Iterable[str]) -> str:
    """Return which of our names another name means: but for case, separators, a plural or one more slip it is the same.

    A name with a number at its end is the user's own, such as docker2. Empty if it is none of ours.
    """
    if name[-1:].isdigit():
        return ""
    return next((mine for mine in ours if _one_edit(_normal(name), _normal(mine))), "")


def _normal(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold()).removesuffix("s")


def _one_edit(one: str, other: str) -> bool:
    """Return whether two texts are equal but for one letter that is missing or wrong, or two that are swapped."""
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    start = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    rest, longer = short[start:], long[start:]
    if len(short) != len(long):
        return rest == longer[1:]
    return rest[1:] == longer[1:] or (rest[:2] == longer[1::-1] and rest[2:] == longer[2:])
