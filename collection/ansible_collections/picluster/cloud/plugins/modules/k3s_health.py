#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Check whether a node's k3s is healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_health
short_description: Check whether a node's k3s is healthy
description:
  - Fails unless the service is active and Kubernetes reports the node Ready, by what it heard since the service was
    started.
  - Queries once, on the node itself, with the kubelet's own credentials.
version_added: 0.1.0
options:
  node:
    description: Name of this node in Kubernetes.
    type: str
    required: true
extends_documentation_fragment: [picluster.cloud.attributes.query]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Wait until the node is Ready again
  picluster.cloud.k3s_health:
    node: "{{ inventory_hostname }}"
  register: health
  until: health is succeeded
  retries: 60
  delay: 5
  become: true
"""

RETURN = r"""
detail:
  description: Why the node is healthy.
  returned: success
  type: str
  sample: k3s-agent is active, Kubernetes reports the node Ready
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.health import check_health
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {"node": {"type": "str", "required": True}}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Check the node's health; changes nothing."""
    return {"detail": check_health(node, options["node"])}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
