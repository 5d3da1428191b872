#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Make an armed change permanent, or roll it back at once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: confirm
short_description: Confirm a change that could lock the owner out
description:
  - Modules that change sshd, the firewall or the address first arm a rollback on the node. This module stops it.
  - The login that runs this module is the proof that the node is reachable, so it must use a connection that was opened
    after the change. The action plugins of those modules do that; playbooks do not call this module.
version_added: 0.1.0
options:
  name:
    description: What was changed, for example V(sshd).
    type: str
    required: true
  token:
    description: Identifies the change. A token other than the current one confirms nothing.
    type: str
    required: true
  state:
    description: Whether to make the change permanent or to roll it back at once.
    type: str
    choices: [confirmed, undone]
    default: confirmed
attributes:
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
    description: The module that makes the change shows it.
  idempotent:
    support: full
    description: A second call with the same token changes nothing.
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Confirm the new configuration of sshd
  picluster.cloud.confirm:
    name: sshd
    token: 6f1ed002ab5595859014ebf0951522d9
"""

RETURN = r"""
fate:
  description:
    - What became of the change. V(confirmed) means that an earlier call confirmed it, V(superseded) that another run
      has changed the same since, so that nothing was rolled back.
  returned: success, with V(undone)
  type: str
  sample: rolled back
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import Rollback
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "token": {"type": "str", "required": True, "no_log": False},
    "state": {"type": "str", "choices": ["confirmed", "undone"], "default": "confirmed"},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Confirm the change or roll it back."""
    if node.check_mode:
        return {"changed": False}
    rollback = Rollback(node, options["name"])
    if options["state"] == "confirmed":
        return {"changed": rollback.confirm(options["token"])}
    changed = rollback.undo(options["token"])
    return {"changed": changed, "fate": rollback.fate(options["token"])}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
