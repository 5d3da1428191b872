#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: record_layer
short_description: Record whether a node has a layer
description:
  - The last task of a layer whose module does not record it itself. Writes C(seen.json) beside the inventory, from
    which M(picluster.cloud.inventory_check) knows that a layer would be removed from several nodes.
  - Writes only if the record differs. A record that cannot be written is a warning.
version_added: 0.1.0
options:
  layer:
    description: Name of the layer.
    type: str
    required: true
  present:
    description: Whether the node has it now.
    type: bool
    required: true
extends_documentation_fragment: [picluster.cloud.attributes.query]
attributes:
  action:
    support: full
    description: Runs on the controller.
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Record the layer
  picluster.cloud.record_layer:
    layer: hello
    present: "{{ hello_state == 'present' }}"
"""

RETURN = r"""
"""
