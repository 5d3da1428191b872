# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's record of the node that holds the k3s cluster's data, in seen.json of the inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

KEY = "k3s_server_data"
GIVE_UP = "k3s_give_up_cluster"


def holders(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the nodes of a record that hold server data."""
    return sorted(name for name, seen in nodes.items() if seen.get(KEY) is True)


def note_holder(result: dict[str, Any], variables: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Record the node as the one that holds the cluster's data, if a module saw the data on it.

    Args:
        result: The module's; a record that cannot be written becomes one of its warnings.
        variables: The node's.
        check_mode: Whether nothing is written.
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
        words = f"{record.path} cannot be written: {error.strerror}; a k3s server that moves will not be noticed"
        return {**result, "warnings": [*result.get("warnings", []), words]}
    return result


def describe_moved_server(servers: Sequence[str], settings: Mapping[str, Any], folders: Iterable[str]) -> str:
    """Return that the group of servers names another node than the one that holds the cluster's data, empty if not.

    Without any server the layer is removed, and the data stays where it is.

    Args:
        servers: The members of the group k3s_server.
        settings: The variables of the first.
        folders: The inventory's, where the records are.
    """
    known = sorted({name for folder in folders for name in holders(Seen(folder).nodes())})
    if not servers or not known or set(known) & set(servers):
        return ""
    new, old = servers[0], known[0]
    config = settings.get("k3s_config")
    if str(settings.get(GIVE_UP, "")) == old or (isinstance(config, dict) and "datastore-endpoint" in config):
        return ""
    return (
        f"k3s_server has {new}, but {old} was the server and holds the cluster's data: {new} would start a new, empty "
        f"cluster, and everything deployed on the old cluster would be lost; put {old} back into k3s_server, or "
        f"confirm with -e {GIVE_UP}={old}"
    )
