# Copyright 2026 picluster contributors
# SPDX-License-Identifier: Apache-2.0
"""Which node holds the k3s cluster's data, as the controller last saw it; kept with what else it saw of the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.rules import Problem
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.rules import Inventory

KEY = "k3s_server_data"
GIVE_UP = "k3s_give_up_cluster"


def holders(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the nodes of a record that hold server data."""
    return sorted(name for name, seen in nodes.items() if seen.get(KEY) is True)


def note_holder(result: dict[str, Any], variables: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Record the node as the one that holds the cluster's data, if a module saw the data on it.

    Args:
        result: of the module; a record that cannot be written becomes one of its warnings.
        variables: the node's.
        check_mode: whether nothing is written.
    """
    folder, node = variables.get("inventory_dir"), str(variables.get("inventory_hostname", ""))
    if not folder or not result.get("server_data") or check_mode:
        return result
    record = Seen(folder)
    # In an ordinary run it is known.
    if holders(record.nodes()) == [node]:
        return result
    try:
        with record.edit() as nodes:
            for seen in nodes.values():
                seen.pop(KEY, None)
            nodes.setdefault(node, {})[KEY] = True
    except OSError as error:
        words = f"{record.path} cannot be written: {error.strerror}; a k3s server that moves would not be noticed"
        return {**result, "warnings": [*result.get("warnings", []), words]}
    return result


def moved_server_problems(inventory: Inventory, folders: Iterable[str]) -> Iterator[Problem]:
    """Yield that the group of servers now names another node than the one that holds the cluster's data.

    Without any server the layer is removed, and the data stays where it is.
    """
    servers = inventory.members("k3s_server")
    known = sorted({name for folder in folders for name in holders(Seen(folder).nodes())})
    if not servers or not known or set(known) & set(servers):
        return
    new, old = servers[0], known[0]
    settings = inventory.variables.get(new, {})
    config = settings.get("k3s_config")
    if str(settings.get(GIVE_UP, "")) == old or (isinstance(config, dict) and "datastore-endpoint" in config):
        return
    yield Problem(
        f"k3s_server has {new}, but {old} was the server and holds the cluster's data: {new} would start a new, empty "
        f"cluster, and everything deployed on the old cluster would be lost; put {old} back into k3s_server, or "
        f"confirm with -e {GIVE_UP}={old}",
        node=new,
        group="k3s_server",
    )
