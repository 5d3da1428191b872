#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Verify a k3s cluster end to end."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_check
short_description: Verify a k3s cluster end to end
description:
  - Runs on the server. Waits until it answers, until all expected nodes are Ready, and until a pod on each has answered
    over the pod network; then removes the pods. Ends early when the service keeps failing.
  - The unit on the node decides whether there is a server, not what this run fetched.
  - A node that runs the lab's stand-in gets the state V(stand-in), never V(ok).
version_added: 0.1.0
options:
  optional:
    description: Whether the layer counts as skipped, instead of failed, where no server was ever installed.
    type: bool
    default: false
  expected_nodes:
    description: Names of the nodes that must be Ready.
    type: list
    elements: str
    required: true
  inventory_nodes:
    description: Names of all nodes that may belong to the cluster; O(expected_nodes) count as such anyway.
    type: list
    elements: str
    default: []
  agent_token:
    description: Secret with which agents join; the server's readiness endpoint requires it.
    type: str
    default: ''
  timeout:
    description: Seconds until everything must be healthy.
    type: int
    default: 300
  pods:
    description: Whether to run a pod on every node.
    type: bool
    default: true
extends_documentation_fragment: [picluster.cloud.attributes.query]
attributes:
  check_mode:
    support: partial
    details: Skipped, because it needs the running cluster.
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Verify k3s
  picluster.cloud.k3s_check:
    expected_nodes: [red1, red2]
    inventory_nodes: [red1, red2, red3]
    agent_token: "{{ k3s_agent_token }}"
"""

RETURN = r"""
picluster_status:
  description: The state of each expected node, with the cause if it is not healthy; also when the module fails.
  returned: always, but in check mode
  type: list
  elements: dict
  sample: [{node: red1, layer: k3s, state: ok, detail: 'Ready (v1.36.4+k3s1), its pod answered'}]
server_data:
  description: Whether the server keeps its cluster's data on this node.
  returned: when the server answered
  type: bool
strays:
  description:
    - Nodes that Kubernetes has and the inventory does not. A node that is only dead, or left out of this run, is none.
  returned: when the server answered, or does not exist
  type: list
  elements: str
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.checks import BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.verify import verify
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "optional": {"type": "bool", "default": False},
    "expected_nodes": {"type": "list", "elements": "str", "required": True},
    "inventory_nodes": {"type": "list", "elements": "str", "default": []},
    "agent_token": {"type": "str", "default": "", "no_log": True},
    "timeout": {"type": "int", "default": 300},
    "pods": {"type": "bool", "default": True},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Verify the cluster; changes nothing on the node."""
    if node.check_mode:
        return {"skipped": True, "msg": "skipped in check mode: verification needs the running cluster"}
    BOUNDS["verify_timeout"].check("timeout", options["timeout"])
    return verify(node, options)


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
