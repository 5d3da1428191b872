# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Copied cards: which node was first with a machine-id or a host key, by the files beside the inventory."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import locked, write_atomically
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.known_hosts import entries, host_keys, named

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, MutableMapping
    from pathlib import Path


def claim(
    seen: MutableMapping[str, dict[str, Any]], node: str, peers: Collection[str], machine_id: str, mac: str
) -> str:
    """Record a node's machine-id, if no other node has it; return the other's name, empty if there is none.

    `seen` is the record (seen.json), changed in place; records of nodes other than the `peers` do not count. Raises
    UserError if both names are one board, by their MAC, which is empty if it is not known.
    """
    for other in sorted(set(peers) - {node}):
        found = seen.get(other, {})
        if found.get("machine_id") != machine_id:
            continue
        if mac and found.get("mac") == mac:
            raise UserError(
                f"{node} and {other} are the same board: both have MAC {mac} and machine-id {machine_id}; correct "
                "node_address or ansible_host of one of them in the inventory"
            )
        return other
    seen.setdefault(node, {}).update({"machine_id": machine_id, "mac": mac})
    return ""


def foreign_keys(text: str, node: str, peers: Collection[str]) -> dict[str, str]:
    """Return the keys that are listed under a node's name and before that under another's, with the other's name.

    ssh appends a key when it first connects to a node, so the first name is the original. Names other than the node's
    and its peers' (of a node that was renamed, say) do not count.
    """
    own = host_keys(text, [node])[node]
    first: dict[str, str] = {}
    for hosts, key in entries(text):
        if key in own and key not in first and (owner := next(named(hosts, (node, *peers)), "")):
            first[key] = owner
    return {key: owner for key, owner in first.items() if owner != node}


def without(text: str, node: str, keys: Collection[str]) -> str:
    """Return known_hosts without these keys under this node's name; everything else stays."""
    kept = []
    for line in text.splitlines(keepends=True):
        for hosts, key in entries(line):
            if key in keys and any(named(hosts, [node])):
                others = [name for name in hosts.split(",") if name != node] if "|" not in hosts else []
                if others:
                    kept.append(line.replace(hosts, ",".join(others), 1))
                break
        else:
            kept.append(line)
    return "".join(kept)


class KnownHosts:
    """The inventory's file of host keys, which ssh adds to at any time."""

    def __init__(self, inventory: Path) -> None:
        self.path = inventory / "known_hosts"

    def text(self) -> str:
        """Return the file's text, empty if there is none."""
        with contextlib.suppress(FileNotFoundError):
            return self.path.read_text(encoding="utf-8", errors="surrogateescape")
        return ""

    def add(self, node: str, keys: Iterable[str]) -> None:
        """List these keys under a node's name too; raise OSError if the file cannot be written."""
        with locked(self.path.parent):
            text = self.text()
            there = host_keys(text, [node])[node]
            lines = [f"{node} {key}\n" for key in keys if key not in there]
            if lines:
                between = "" if not text or text.endswith("\n") else "\n"
                # In one write at the end, as ssh itself does.
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(between + "".join(lines))
                    file.flush()
                    os.fsync(file.fileno())

    def forget(self, node: str, keys: Collection[str]) -> None:
        """Remove these keys from a node's name; raise OSError if the file cannot be written."""
        with locked(self.path.parent), self.path.open("rb") as former:
            text = former.read().decode(errors="surrogateescape")
            write_atomically(self.path, without(text, node, keys), self.path.stat().st_mode & 0o7777)
            # ssh may have added another node in the meantime.
            late = former.read()
            if late:
                with self.path.open("ab") as file:
                    file.write(late)
