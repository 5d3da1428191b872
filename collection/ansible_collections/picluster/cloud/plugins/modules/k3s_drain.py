#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Drain a Kubernetes node before a restart, and uncordon it afterwards."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_drain
short_description: Drain a Kubernetes node before a restart, or uncordon it
description:
  - Runs on a k3s server, for any node of its cluster.
  - A node is annotated (C(picluster.cloud/cordoned-for)) before it is cordoned, so that a later run knows whose cordon
    it is, however the earlier one ended. A node that a user has cordoned stays cordoned.
  - If the pods do not leave in time, the node is uncordoned and the module fails.
version_added: 0.1.0
options:
  state:
    description:
      - V(drained) cordons the node and evicts its pods; those of DaemonSets stay, and what is in an emptyDir is lost.
      - V(uncordoned) lets the node take pods again if this module cordoned it.
      - V(query) changes nothing and reports the nodes that this module cordoned.
    type: str
    choices: [drained, uncordoned, query]
    required: true
  node:
    description: Name of the node in Kubernetes; required for V(drained) and V(uncordoned).
    type: str
  timeout:
    description: Seconds until all pods must have left.
    type: int
    default: 300
  force:
    description: Whether to delete pods that no controller would start elsewhere; otherwise they stop the drain.
    type: bool
    default: false
extends_documentation_fragment: [picluster.cloud.attributes]
attributes:
  idempotent:
    support: partial
    description: A drain evicts what has come to the node since the last one.
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Drain the node
  picluster.cloud.k3s_drain:
    state: drained
    node: "{{ inventory_hostname }}"
  delegate_to: red1
  become: true
"""

RETURN = r"""
cordoned:
  description: The nodes that this module cordoned, for O(state=query).
  returned: success
  type: list
  elements: str
answered:
  description: Whether a k3s server on this node answered.
  returned: success
  type: bool
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.checks import BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.drain import Drain
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.existing import our_unit
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["drained", "uncordoned", "query"], "required": True},
    "node": {"type": "str"},
    "timeout": {"type": "int", "default": 300},
    "force": {"type": "bool", "default": False},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Drain or uncordon a node of the cluster, or report the cordons."""
    drain = Drain(node)
    if options["state"] == "query":
        return _query(node, drain)
    if options["state"] == "drained":
        BOUNDS["drain_timeout"].check("timeout", options["timeout"])
        drain.drain(options["node"], options["timeout"], force=options["force"])
    else:
        drain.uncordon(options["node"])
    return {"answered": True, "cordoned": []}


def _query(node: Node, drain: Drain) -> dict[str, Any]:
    if not our_unit(node, "k3s"):
        return {"answered": False, "cordoned": []}
    try:
        return {"answered": True, "cordoned": drain.cordoned()}
    except UserError as error:
        node.warn(f"Kubernetes does not answer, so nodes that an earlier run left cordoned are not known: {error}")
        return {"answered": False, "cordoned": []}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS, required_if=[("state", "drained", ["node"]), ("state", "uncordoned", ["node"])])


if __name__ == "__main__":
    main()
