# Copyright 2026 picluster contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a change of role would lose a k3s cluster.

A cluster lives in its server's data. A server without data starts a new, empty cluster and looks healthy, so the
absence of data is never taken for a first run while anything else says that there was a cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.owner import foreign_k3s
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import DATA_DIR

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import Wish

SERVER_DIR = f"{DATA_DIR}/server"
DB_DIR = f"{SERVER_DIR}/db"
# k3s writes it on an agent that has joined, and on a server only after its database.
JOINED = f"{DATA_DIR}/agent/server-ca.crt"
# With a database elsewhere a server's own data is not the cluster.
DATASTORE = "datastore-endpoint"
LOST = "everything deployed on the old cluster would be lost"


def has_server_data(root: Path) -> bool:
    """Return whether the node holds the database of a k3s cluster."""
    folder = root / DB_DIR
    return folder.is_dir() and any(folder.iterdir())


def is_given_up(root: Path, wish: Wish, give_up: str) -> bool:
    """Return whether the node's server data belongs to a cluster that the user gives up for another server's."""
    named = give_up == wish.node_name != ""
    return named and _serves_elsewhere(wish) and has_server_data(root) and not foreign_k3s(root)


def refusal(root: Path, wish: Wish, *, recorded: bool, give_up: str) -> str:
    """Return why the node must not take its desired role, empty if it may.

    Args:
        root: Of the node.
        wish: The desired state.
        recorded: Whether the controller has seen the cluster's server data on this node before.
        give_up: Name of the node whose cluster the user gives up.
    """
    if foreign_k3s(root) or DATASTORE in {key.rstrip("+") for key in wish.config}:
        return ""
    name = wish.node_name or "this node"
    if _serves_elsewhere(wish) and has_server_data(root) and not is_given_up(root, wish, give_up):
        return (
            f"{name} holds the data of a k3s cluster (/{DB_DIR}), but the server is to be {wish.server_address}: "
            f"{LOST}; put {name} back into k3s_server, or confirm with -e k3s_give_up_cluster={name}"
        )
    if wish.role != "server" or has_server_data(root):
        return ""
    if recorded and give_up != wish.node_name:
        return (
            f"{name} was the k3s server, but its data (/{DB_DIR}) is gone: k3s would start a new, empty cluster, and "
            f"{LOST}; restore /{SERVER_DIR} from a backup, or confirm with -e k3s_give_up_cluster={name}"
        )
    if not recorded and (root / JOINED).exists() and not give_up:
        return (
            f"{name} is to be the k3s server, but it was an agent of a cluster (/{JOINED}) and has no server data: k3s "
            f"would start a new, empty cluster, and {LOST}; put the former server back into k3s_server, or confirm "
            "with -e k3s_give_up_cluster=<name of the former server>"
        )
    return ""


def _serves_elsewhere(wish: Wish) -> bool:
    """Whether another node is to be the server; without any server the layer is removed and data stays."""
    return wish.role != "server" and wish.server_address != ""
