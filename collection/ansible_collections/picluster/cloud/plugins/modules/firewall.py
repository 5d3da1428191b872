#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Configure a node's firewall: a table of its own beside those of Docker and Kubernetes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Configure who may reach what on a node
description:
  - Manages the nftables table C(inet picluster), its file C(/etc/picluster/firewall.nft) and the unit
    C(picluster-firewall.service), which loads it before the network is up. No other table is touched, so the rules of
    Docker and Kubernetes stay in place. Debian's C(nftables.service), which flushes all tables, gets a drop-in that
    loads this table again.
  - The nodes and the O(management) networks may reach everything; other hosts may reach ssh and O(public_ports). This
    also holds for published container ports and NodePorts, which do not pass the input chain.
  - C(nft --check) checks the rules before anything is written, and one transaction replaces them. They stay only if a
    new login from the controller succeeds; otherwise the node rolls back by itself.
  - The address that Ansible connects from, as the node sees it, may always connect to sshd.
version_added: 0.1.0
extends_documentation_fragment:
  - picluster.cloud.attributes
  - picluster.cloud.confirmed
  - picluster.cloud.lock_timeout
options:
  state:
    description: Whether the firewall exists; V(absent) removes table, file and unit.
    type: str
    choices: [present, absent]
    default: present
  nodes:
    description: Addresses of the cluster's nodes.
    type: list
    elements: str
    default: []
  node_ports:
    description: Ports that the nodes may reach on each other, such as V(6443) or V(8472/udp); V([all]) for all ports.
    type: list
    elements: raw
    default: [all]
  management:
    description: Addresses and networks that may reach everything.
    type: list
    elements: str
    default: []
  public_ports:
    description:
      - Ports that any host may reach, such as V(80), V(8000-8010) or V(53/udp). For a published container port or a
        NodePort, list the port that clients connect to.
    type: list
    elements: raw
    default: []
  strangers_ssh:
    description: Whether any host may connect to sshd.
    type: bool
    default: true
  ssh_port:
    description: The port of sshd.
    type: int
    default: 22
  interface:
    description: The node's own network interface, which O(container_interfaces) must not match.
    type: str
    default: ""
  container_interfaces:
    description:
      - Interfaces of this node's containers and pods, with a C(*) at the end at most. Packets from these interfaces
        are accepted.
    type: list
    elements: str
    default: [br-*, cali*, cni*, docker*, flannel*, veth*]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Allow other hosts to reach ssh and a web server only
  picluster.cloud.firewall:
    nodes: [192.168.1.11, 192.168.1.12]
    management: [192.168.1.5]
    public_ports: [80, 443]
"""

RETURN = r"""
loaded:
  description: Whether rules were loaded.
  returned: success
  type: bool
controller:
  description: The address that Ansible connected from, as the node sees it; empty without ssh.
  returned: success
  type: str
  sample: 192.168.1.5
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import ARGUMENTS, Rollback
from ansible_collections.picluster.cloud.plugins.module_utils.firewall.apply import Firewall
from ansible_collections.picluster.cloud.plugins.module_utils.firewall.checks import BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.firewall.plan import rules_text
from ansible_collections.picluster.cloud.plugins.module_utils.firewall.rules import CONTAINERS, SSH_PORT, read_policy
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import check_bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import LOCK_TIMEOUT

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "nodes": {"type": "list", "elements": "str", "default": []},
    "node_ports": {"type": "list", "elements": "raw", "default": ["all"]},
    "management": {"type": "list", "elements": "str", "default": []},
    "public_ports": {"type": "list", "elements": "raw", "default": []},
    "strangers_ssh": {"type": "bool", "default": True},
    "ssh_port": {"type": "int", "default": SSH_PORT},
    "interface": {"type": "str", "default": ""},
    "container_interfaces": {"type": "list", "elements": "str", "default": list(CONTAINERS)},
    "lock_timeout": LOCK_TIMEOUT,
    **ARGUMENTS,
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Bring the node's firewall to the desired state."""
    connection = current_connection()
    client = connection.client if connection else ""
    rollback = Rollback(node, "firewall")
    firewall = Firewall(node, rollback, options["lock_timeout"])
    if options["state"] == "absent":
        with rollback.alone():
            firewall.absent()
        return {"loaded": False, "controller": client}
    check_bounds(BOUNDS, options)
    rules = rules_text(read_policy(options, client))
    with rollback.alone():
        return {"controller": client, **firewall.present(rules, options["confirm_within"], options["confirm_token"])}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
