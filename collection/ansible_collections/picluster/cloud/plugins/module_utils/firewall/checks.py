# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role firewall, for the inventory check. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.firewall import rules
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.guard import CONFIRM_WITHIN

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKS: dict[str, Callable[[Any], object]] = {
    "node_ports": rules.parse_node_ports,
    "public_ports": lambda ports: rules.parse_ports(ports, "public_ports"),
    "management": lambda networks: rules.parse_networks(networks, "management"),
    # The node's own interface, which no pattern may match, is another variable.
    "container_interfaces": lambda patterns: rules.check_containers(patterns, ""),
}
BOUNDS = {"ssh_port": Bounds(1, rules.LAST_PORT), "confirm_within": CONFIRM_WITHIN}
