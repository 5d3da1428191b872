#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Report whether a node needs a restart."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reboot_needed
short_description: Report whether a node needs a restart, and why
description:
  - A node needs a restart if C(/run/reboot-required) exists, which packages and roles create, or if a newer kernel of
    the running kernel's flavour is installed.
version_added: 0.1.0
extends_documentation_fragment: [picluster.cloud.attributes.query]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Query the reasons for a restart
  picluster.cloud.reboot_needed:
  register: reboot
"""

RETURN = r"""
needed:
  description: Whether there is a reason.
  returned: success
  type: bool
reasons:
  description: The reasons, one sentence each.
  returned: success
  type: list
  elements: str
  sample: ["kernel 6.12.47+rpt-rpi-v8 is installed, but 6.12.34+rpt-rpi-v8 is running"]
"""

import os
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module
from ansible_collections.picluster.cloud.plugins.module_utils.reboot.reasons import reboot_reasons

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node


def converge(node: Node, _options: dict[str, Any]) -> dict[str, Any]:
    """Read the node's state."""
    reasons = reboot_reasons(node, os.uname().release)
    return {"needed": bool(reasons), "reasons": reasons}


def main() -> None:
    """Run the module."""
    run_module(converge, {})


if __name__ == "__main__":
    main()
