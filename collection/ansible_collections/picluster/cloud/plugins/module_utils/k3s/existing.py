# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The k3s that a node has already: who installed it, and whether a change of role would lose its cluster.

k3s's own installer uses the role's names and paths, so a name alone says nothing about who installed it.

A cluster lives in its server's data. A server without data starts a new, empty cluster and looks healthy, so missing
data is never taken for a first run while anything else shows that there was a cluster.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import (
    BIN_DIR,
    DATA_DIR,
    HEADER,
    SERVICES,
    UNIT_DIR,
)

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import K3sSettings
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

RELEASE = "k3s-v"
SERVER_DIR = f"{DATA_DIR}/server"
DB_DIR = f"{SERVER_DIR}/db"
# k3s writes it on an agent that has joined, and on a server only after its database.
JOINED = f"{DATA_DIR}/agent/server-ca.crt"
# With a database elsewhere a server's own data is not the cluster.
DATASTORE = "datastore-endpoint"
LOST = "everything deployed on the old cluster would be lost"


def our_unit(node: Node, service: str) -> bool:
    """Return whether the service's unit exists and was written by the role."""
    return (node.files.read(f"{UNIT_DIR}/{service}.service") or "").startswith(HEADER)


def our_link(node: Node, name: str = "k3s") -> bool:
    """Return whether a program is the role's link: to a release in the same folder.

    install.sh of k3s writes a file k3s and links to that; other installers link to releases by absolute paths.
    """
    path = node.path(f"{BIN_DIR}/{name}")
    return path.is_symlink() and str(path.readlink()).startswith(RELEASE)


def foreign_k3s(node: Node) -> str:
    """Return the path of a k3s that the role did not install, empty if there is none."""
    for service in SERVICES.values():
        unit = f"{UNIT_DIR}/{service}.service"
        if os.path.lexists(node.path(unit)) and not our_unit(node, service):
            return unit
    program = f"{BIN_DIR}/k3s"
    return program if os.path.lexists(node.path(program)) and not our_link(node) else ""


def has_server_data(node: Node) -> bool:
    """Return whether the node holds the database of a k3s cluster."""
    folder = node.path(DB_DIR)
    return folder.is_dir() and any(folder.iterdir())


def is_given_up(node: Node, settings: K3sSettings, give_up: str) -> bool:
    """Return whether the node's server data belongs to a cluster that the user gives up for another server's."""
    named = give_up == settings.node_name != ""
    return named and _serves_elsewhere(settings) and has_server_data(node) and not foreign_k3s(node)


def refusal(node: Node, settings: K3sSettings, *, recorded: bool, give_up: str) -> str:
    """Return why the node must not take its desired role, empty if it may; the arguments are those of K3s.converge."""
    if foreign_k3s(node) or DATASTORE in {key.rstrip("+") for key in settings.config}:
        return ""
    name = settings.node_name or "this node"
    if _serves_elsewhere(settings) and has_server_data(node) and not is_given_up(node, settings, give_up):
        return (
            f"{name} holds the data of a k3s cluster ({DB_DIR}), but the server is to be {settings.server_address}: "
            f"{LOST}; make {name} the server again, or confirm with give_up_cluster={name}"
        )
    if settings.role != "server" or has_server_data(node):
        return ""
    if recorded and give_up != settings.node_name:
        return (
            f"{name} was the k3s server, but its data ({DB_DIR}) is gone: k3s would start a new, empty cluster, and "
            f"{LOST}; restore {SERVER_DIR} from a backup, or confirm with give_up_cluster={name}"
        )
    if not recorded and node.path(JOINED).exists() and not give_up:
        return (
            f"{name} is to be the k3s server, but it was an agent of a cluster ({JOINED}) and has no server data: k3s "
            f"would start a new, empty cluster, and {LOST}; make the former server the server again, or confirm "
            "with give_up_cluster=<name of the former server>"
        )
    return ""


def _serves_elsewhere(settings: K3sSettings) -> bool:
    """Return whether another node is to be the server; without any server the layer is removed and data stays."""
    return settings.role != "server" and settings.server_address != ""
