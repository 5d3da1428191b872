# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What a node's network requires of the role's settings, for the inventory check. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import parse_parking
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator


def setting_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield the parking ranges outside the network of their node."""
    for node, variables in inventory.variables.items():
        try:
            ends = parse_parking(str(variables.get("network_parking", "")))
            place = f"{variables.get('node_address')}/{variables.get('node_prefix')}"
            net = ipaddress.IPv4Interface(place).network
        except (UserError, ValueError):
            # Templated, or reported by another rule.
            continue
        if not all(end in net for end in ends):
            text = f"network_parking is outside {net}, the network of node_address: {variables['network_parking']}"
            yield Problem(f"{text}; expected a range of free addresses in it", key="network_parking", node=node)
