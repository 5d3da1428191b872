#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_check
short_description: Check the whole inventory before any node is touched
description:
  - Checks groups, names, addresses, the cluster's secret, and the names, types, choices and bounds of all variables of
    the roles, for all nodes of the group C(nodes) in one task on the controller.
  - Each message is one sentence with file, line and variable, what was found and what to do. All mistakes are reported
    at once.
  - Templates and values encrypted by ansible-vault are not checked.
version_added: 0.1.0
options:
  layers:
    description:
      - The playbook's vars file that derives variables of the roles from groups and nodes. The inventory must not set
        them, as its values would be ignored. Searched in the C(vars) directory beside the playbook; may be missing.
    type: path
    default: layers.yml
  removals:
    description:
      - Whether to refuse a run that would remove a layer from several nodes, or from the last node with it, compared
        with what earlier runs recorded in C(seen.json) beside the inventory. The variable C(confirm_removal) of the
        command line names layers that may be removed, separated by commas.
    type: bool
    default: true
extends_documentation_fragment: [picluster.cloud.attributes.query]
attributes:
  action:
    support: full
    description: Runs on the controller.
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
# localhost, so that an inventory without nodes is checked as well; --limit need not name it.
- name: Check the whole inventory
  hosts: localhost:nodes
  gather_facts: false
  tasks:
    - name: Check the whole inventory
      picluster.cloud.inventory_check:
      register: inventory_checked
      run_once: true
      delegate_to: localhost
"""

RETURN = r"""
nodes:
  description: The address of every node, in the inventory's order.
  returned: success
  type: dict
  sample: {red1: 192.168.63.11}
nodes_text:
  description: The same as JSON, for arguments that all nodes receive; a mapping would be templated for each node.
  returned: success
  type: str
  sample: '{"red1": "192.168.63.11"}'
archs:
  description: The architectures of the nodes of each layer that needs an artifact.
  returned: success
  type: dict
  sample: {k3s: [arm64], hadoop: [arm64]}
"""
