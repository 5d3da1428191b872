#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_check
short_description: Judge the whole inventory before any node is touched
description:
  - Checks groups, names, addresses, the cluster's secret, and the names, types and choices of all variables of
    the roles, for all nodes of the
    group C(nodes) in one task on the controller.
  - Every message is one sentence that names the file and the line, the key, what was found and what would be
    right. All that is wrong is told at once.
  - Templates and values encrypted by ansible-vault are not judged.
version_added: 0.1.0
options:
  layers:
    description:
      - The vars file of the playbook that makes the roles' variables from groups and nodes. What it sets must not
        stand in the inventory, where it would
        be ignored. Looked for in the C(vars) directory beside the playbook; without it nothing is checked against it.
    type: path
    default: layers.yml
attributes:
  check_mode:
    support: full
    description: Changes nothing anyway.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
  action:
    support: full
    description: Runs on the controller.
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Check the whole inventory
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Check the whole inventory
      picluster.cloud.inventory_check:
      register: inventory_checked
"""

RETURN = r"""
nodes:
  description: The address of every node, in the inventory's order.
  returned: success
  type: dict
  sample: {red1: 192.168.63.11}
nodes_text:
  description: The same as JSON, for arguments that every node gets; a mapping is templated anew for each of them.
  returned: success
  type: str
  sample: '{"red1": "192.168.63.11"}'
archs:
  description: The architectures of the nodes of each layer that needs an artifact.
  returned: success
  type: dict
  sample: {k3s: [arm64], hadoop: [arm64]}
"""
