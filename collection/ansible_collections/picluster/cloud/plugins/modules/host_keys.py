#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Make host keys of its own for a copied node, in two steps, between which the controller learns them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_keys
short_description: Host keys of its own for a copied node
description:
  - Used by the action plugin of M(picluster.cloud.identity) for a node whose host key C(known_hosts) lists under
    another node's name too.
  - V(prepared) makes new keys aside, of the same types, if one of the present keys is another node's. sshd continues
    with the present ones. Keys that an earlier call made and did not activate are reused.
  - V(active) moves them into place, reloads sshd, and waits until sshd offers them. Open sessions stay.
version_added: 0.1.0
options:
  state:
    description: The desired state of the keys.
    type: str
    choices: [prepared, active]
    default: prepared
  foreign:
    description: Public keys of other nodes, as type and base64 text.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [picluster.cloud.attributes]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Make new host keys aside
  picluster.cloud.host_keys:
    foreign: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIoB9rJk3u0Nf2c0l0b1tq7s0m4dYfZ2xJQ8m1x5q3aB]
"""

RETURN = r"""
keys:
  description: The public keys that sshd offers once the new keys are active.
  returned: success, with V(prepared)
  type: list
  elements: str
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.identity.host_keys import HostKeys
from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["prepared", "active"], "default": "prepared"},
    "foreign": {"type": "list", "elements": "str", "default": []},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Make the keys, or activate them."""
    keys = HostKeys(node)
    if options["state"] == "prepared":
        return {"keys": keys.prepare(options["foreign"])}
    if not node.check_mode:
        keys.activate(current_connection())
    return {}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
