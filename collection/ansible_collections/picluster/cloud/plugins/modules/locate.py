#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: locate
short_description: Find the nodes that may not be at their node_address
description:
  - Asks, in one task on the controller and for all nodes at once, where the nodes are whose address in the
    inventory was changed since they were last seen, or whose C(ansible_host) is another address.
    Nodes without a doubt cost nothing.
  - The host key in the inventory's C(known_hosts) under the node's name tells which machine is the node, so that
    two nodes that are to swap their addresses are not mistaken for each other. Of a node without a known key the
    first address that answers is taken.
  - Tells as well which nodes hold an address that another node is to get, and where they can go meanwhile.
  - Closes the connections that ssh kept open to all these addresses, as they may lead to whoever had them before.
  - Keeps in C(seen.json) beside the inventory where each node may be, before it goes there.
  - Nodes whose C(ansible_host) is a name, and those behind a jump host, are left to ssh.
version_added: 0.1.0
options:
  nodes:
    description: The nodes and their addresses, as M(picluster.cloud.inventory_check) returns them.
    type: dict
    required: true
  timeout:
    description: Seconds that an address may be silent.
    type: int
    default: 5
attributes:
  check_mode:
    support: full
    description: Finds the nodes and writes nothing.
  diff_mode:
    support: none
    description: Changes nothing on a node.
  idempotent:
    support: full
    description: Changes nothing on a node.
  action:
    support: full
    description: Runs on the controller.
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Check the whole inventory
  picluster.cloud.inventory_check:
  register: inventory_checked

- name: Find nodes that are not at their address yet
  picluster.cloud.locate:
    nodes: "{{ inventory_checked.nodes }}"
  register: located

- name: Go on where they are
  ansible.builtin.set_fact:
    ansible_host: "{{ item.value }}"
  delegate_to: "{{ item.key }}"
  delegate_facts: true
  loop: "{{ located.hosts | dict2items }}"
"""

RETURN = r"""
hosts:
  description: By node that was in doubt and was found, the address that it has.
  returned: success
  type: dict
  sample: {red1: 192.168.63.40}
vacate:
  description: By node that has to leave its address before another can get it, where it goes first.
  returned: success
  type: dict
  sample:
    red1:
      address: 192.168.63.254
      parked: true
      prefix: 24
      gateway: 192.168.63.1
      dns: [192.168.63.1]
      search: []
"""
