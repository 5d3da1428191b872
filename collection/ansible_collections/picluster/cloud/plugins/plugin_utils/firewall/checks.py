# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What a node's interface requires of the role's settings, for the inventory check. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.firewall.rules import CONTAINERS, check_own_interface
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.templated import is_templated

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATTERNS = "firewall_container_interfaces"


def setting_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield the patterns of containers' interfaces that match the interface of their node."""
    for node, variables in inventory.variables.items():
        interface, patterns = variables.get("node_interface"), variables.get(_PATTERNS, CONTAINERS)
        if variables.get("firewall_state") == "absent" or not isinstance(interface, str) or is_templated(interface):
            continue
        try:
            check_own_interface([one for one in patterns if isinstance(one, str)], interface)
        except UserError as error:
            key = _PATTERNS if _PATTERNS in variables else "node_interface"
            yield Problem(f"firewall_{error}", key=key, node=node)
