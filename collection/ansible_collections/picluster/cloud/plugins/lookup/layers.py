# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What the layers declare, for the playbooks."""

from __future__ import annotations

DOCUMENTATION = r"""
name: layers
short_description: What the layers declare about a node
version_added: 0.1.0
description:
  - Reads C(meta/layer.yml) of each role of the collection, and answers one question about the node of the task, from
    the groups of the inventory.
options:
  _terms:
    description:
      - V(verify) - names of the layers that this node verifies.
      - V(health) - names of the layers on this node that have a health check.
      - V(restart_last) - names of the layers for which this node restarts after all others.
      - V(drain) - for every layer that drains nodes, its name (C(layer)) and the node to do it on (C(node)).
      - V(busy_units) - units of all layers that prevent an immediate restart.
    required: true
    type: list
    elements: str
    choices: [verify, health, restart_last, drain, busy_units]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Verify the layers of the node
  ansible.builtin.include_role:
    name: "picluster.cloud.{{ layer }}"
    tasks_from: verify
  loop: "{{ query('picluster.cloud.layers', 'verify') }}"
  loop_control:
    loop_var: layer
"""

RETURN = r"""
_raw:
  description: The answer.
  type: list
  elements: raw
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.layers import QUESTIONS, read_layers


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core carries no types
    """The lookup picluster.cloud.layers."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **_options: Any) -> list[Any]:  # noqa: ANN401 - Ansible's signature
        """Return the answers to the questions, one after the other.

        Raises:
            AnsibleError: a question is unknown, or a declaration is invalid.
        """
        known = variables or {}
        unknown = [term for term in terms if term not in QUESTIONS]
        if unknown:
            raise AnsibleError(f"the layers do not declare {unknown[0]!r}; expected one of {', '.join(QUESTIONS)}")
        try:
            layers = read_layers()
        except UserError as error:
            raise AnsibleError(str(error)) from error
        node, groups = str(known.get("inventory_hostname", "")), known.get("groups", {})
        return [answer for term in terms for answer in QUESTIONS[term](layers, node, groups)]
