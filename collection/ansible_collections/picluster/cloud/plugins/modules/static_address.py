#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Configure a node's static address, and move the node there from another one, without ever losing it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: static_address
short_description: A node's static IPv4 address
description:
  - Configures the static address of a node, at once and for every later boot, and moves the node there from any other
    address, in the same subnet or in another.
  - Writes a netplan drop-in where netplan is in use (Raspberry Pi OS Trixie, Ubuntu), a NetworkManager profile
    where there is none (Raspberry Pi OS Bookworm), a marked block of /etc/dhcpcd.conf where dhcpcd runs (Bullseye).
    The drop-in is tested in a copy of all of netplan's files before it is written.
  - Changes nothing if another machine has the address, or if the router does not answer; both are checked by ARP.
  - The former address stays usable beside the new one until the controller has logged in at the new one, which the
    action plugin of the same name does. Without that login, and after a power cut before it, the former state returns.
  - Excludes the interfaces of Docker and of pods from NetworkManager, and disables cloud-init's network configuration.
version_added: 0.1.0
options:
  interface:
    description: The network interface.
    type: str
    required: true
  address:
    description: The node's IPv4 address.
    type: str
    required: true
  prefix:
    description: Bits of the network.
    type: int
    required: true
  gateway:
    description: The router.
    type: str
    required: true
  dns:
    description: Name servers.
    type: list
    elements: str
    default: []
  search:
    description: Domains in which short names are looked up.
    type: list
    elements: str
    default: []
  wait_for_address:
    description:
      - Seconds to wait for another machine that has the address and is just leaving it.
      - From 0 to 3600.
    type: int
    default: 15
  timeout:
    description: Seconds until the kernel must have the address.
    type: int
    default: 30
extends_documentation_fragment: [picluster.cloud.attributes, picluster.cloud.confirmed]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Configure the node's address
  picluster.cloud.static_address:
    interface: eth0
    address: 192.168.63.11
    prefix: 24
    gateway: 192.168.63.1
    dns: [192.168.63.1]
"""

RETURN = r"""
manager:
  description: The manager of the interface - netplan and its renderer, NetworkManager alone, or dhcpcd.
  returned: success
  type: str
  sample: netplan with NetworkManager
address:
  description: The node's address.
  returned: success
  type: str
  sample: 192.168.63.11
moved:
  description: Whether the node has left the address of this connection. From now on it is reached at RV(address).
  returned: success
  type: bool
"""

import signal
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import ARGUMENTS, Rollback
from ansible_collections.picluster.cloud.plugins.module_utils.network.apply import StaticAddress
from ansible_collections.picluster.cloud.plugins.module_utils.network.checks import BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import read_settings
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import check_bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

SETTINGS: dict[str, dict[str, Any]] = {
    "interface": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "prefix": {"type": "int", "required": True},
    "gateway": {"type": "str", "required": True},
    "dns": {"type": "list", "elements": "str", "default": []},
    "search": {"type": "list", "elements": "str", "default": []},
}
OPTIONS: dict[str, dict[str, Any]] = {
    **SETTINGS,
    "wait_for_address": {"type": "int", "default": 15},
    "timeout": {"type": "int", "default": 30},
    **ARGUMENTS,
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Bring the node to its address, until the action plugin confirms it."""
    check_bounds(BOUNDS, options)
    settings = read_settings(**{name: options[name] for name in SETTINGS})
    connection = current_connection()
    # The connection may hang up while the address changes; what has begun is finished all the same.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    rollback = Rollback(node, "address")
    with rollback.alone():
        return StaticAddress(node, settings, rollback, connection.server if connection else "").converge(options)


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
