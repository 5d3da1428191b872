# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What the controller last saw of each node, kept beside the inventory.

A rerun uses it to find a node whose address in the inventory has changed since, to detect two nodes with the same
machine-id, to distinguish a NameNode that lost its image from a new one (`hdfs`: cluster id of the image), and to know
which layers it would remove (`layers`). If the file is lost, nothing else is. `addresses` are all at which a node may
be: its next address is added before the node moves, and the others are removed once the node is known to be at one.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.files import locked, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE = "seen.json"
LAYERS = "layers"  # of a node: the names of the layers that it has


def layers_of(node: Mapping[str, Any]) -> list[str]:
    """Return the layers in the record of a node."""
    found = node.get(LAYERS)
    return [str(name) for name in found] if isinstance(found, list) else []


class Seen:
    """The record of one inventory, by node name, such as ``{"red1": {"addresses": ["192.168.1.11"]}}``.

    In an action plugin::

        with Seen(task_vars["inventory_dir"]).edit() as nodes:
            nodes.setdefault("red1", {})["machine_id"] = answer["machine_id"]

    Attributes:
        path: The record's file.
    """

    def __init__(self, inventory: str | Path) -> None:
        self.path = Path(inventory) / FILE

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Return the record; empty if there is none, or none that can be read."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return {str(name): node for name, node in found.items() if isinstance(node, dict)}
        return {}

    @contextlib.contextmanager
    def edit(self) -> Iterator[dict[str, dict[str, Any]]]:
        """Yield the record under a lock, and write it if it was changed.

        Raises:
            OSError: the inventory's folder cannot be written.
        """
        with locked(self.path.parent):
            nodes = self.nodes()
            before = json.dumps(nodes, sort_keys=True)
            yield nodes
            if json.dumps(nodes, sort_keys=True) != before:
                write_atomically(self.path, json.dumps(nodes, indent=1, sort_keys=True) + "\n")

    def settle(self, name: str, address: str) -> None:
        """Record that a node is known to be at an address, and nowhere else.

        Raises:
            OSError: the inventory's folder cannot be written.
        """
        # In an ordinary run the record says so already, and 200 nodes need not wait for each other's lock.
        if self.nodes().get(name, {}).get("addresses") != [address]:
            with self.edit() as nodes:
                nodes.setdefault(name, {})["addresses"] = [address]

    def note_layer(self, name: str, layer: str, *, present: bool) -> None:
        """Record that a node has a layer, or has it no longer.

        Raises:
            OSError: the inventory's folder cannot be written.
        """
        # In an ordinary run the record says so already, as in settle().
        if (layer in layers_of(self.nodes().get(name, {}))) != present:
            with self.edit() as nodes:
                node = nodes.setdefault(name, {})
                others = {other for other in layers_of(node) if other != layer}
                node[LAYERS] = sorted({*others, layer} if present else others)
