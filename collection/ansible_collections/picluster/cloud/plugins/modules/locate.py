#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: locate
short_description: Locate the nodes that may not be at their node_address
description:
  - Finds, in one task on the controller and for all nodes at once, the nodes whose address in the inventory was changed
    since they were last seen, or whose C(ansible_host) is another address. Other nodes are not scanned.
  - The host key that C(known_hosts) beside the inventory lists under the node's name identifies the node, so that two
    nodes that swap their addresses are not confused. A node without a known key is taken to be at the first address
    that answers.
  - Reports which nodes hold an address that another node gets, and where they can go in the meantime.
  - Closes the connections that ssh kept open to these addresses, as they may lead to the former owner.
  - Records in C(seen.json) beside the inventory where each node may be, before it moves there.
  - Nodes whose C(ansible_host) is a name, and nodes behind a jump host, are left to ssh.
version_added: 0.1.0
options:
  nodes:
    description: The nodes and their addresses, as M(picluster.cloud.inventory_check) returns them.
    type: dict
    required: true
  timeout:
    description: Seconds to wait for an address to answer.
    type: int
    default: 5
extends_documentation_fragment: [picluster.cloud.attributes.query]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Check the whole inventory
  picluster.cloud.inventory_check:
  register: inventory_checked

- name: Locate nodes that are not at their address yet
  picluster.cloud.locate:
    nodes: "{{ inventory_checked.nodes }}"
  register: located

- name: Connect to nodes at their current address
  ansible.builtin.set_fact:
    ansible_host: "{{ item.value }}"
  delegate_to: "{{ item.key }}"
  delegate_facts: true
  loop: "{{ located.hosts | dict2items }}"
"""

RETURN = r"""
hosts:
  description: The present address of each doubtful node that was found.
  returned: success
  type: dict
  sample: {red1: 192.168.63.40}
vacate:
  description: Where each node goes first that must leave its address before another node can get it.
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
