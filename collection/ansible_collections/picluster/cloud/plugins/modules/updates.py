#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Install security updates on a node daily, without an operator."""

from __future__ import annotations

DOCUMENTATION = r"""
module: updates
short_description: Install security updates daily, without an operator
description:
  - Installs unattended-upgrades and configures it in C(/etc/apt/apt.conf.d/zz-picluster-updates), which sorts behind
    the package's own files, so these stay unchanged; their lists of archives and of excluded packages no longer apply.
    Only security archives are used unless O(origins) names more; the node never reboots by itself.
  - The result is checked with C(apt-config dump), as another file may override the configuration.
  - Where needrestart is installed, it is configured to ask nothing and to restart nothing.
version_added: 0.1.0
options:
  state:
    description: V(security) installs security updates daily; V(none) removes what picluster installed.
    type: str
    choices: [security, none]
    default: security
  origins:
    description:
      - Further archives to update from, as patterns of unattended-upgrades, such as V(origin=Docker,label=Docker CE).
        C(apt-cache policy) shows an archive's fields.
    type: list
    elements: str
    default: []
  blacklist:
    description: Regular expressions of packages that are never updated automatically, such as V(docker.io).
    type: list
    elements: str
    default: []
extends_documentation_fragment: [picluster.cloud.lock_timeout, picluster.cloud.attributes]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Install security updates, and Docker's own, but never a new kernel
  picluster.cloud.updates:
    origins: ["origin=Docker,label=Docker CE"]
    blacklist: ["^linux-image-", "^raspi-firmware$"]
"""

RETURN = r"""
origins:
  description: The archives that the node updates from automatically.
  returned: success
  type: list
  elements: str
  sample: ["origin=Debian,codename=${distro_codename}-security,label=Debian-Security"]
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import LOCK_TIMEOUT
from ansible_collections.picluster.cloud.plugins.module_utils.updates import policy
from ansible_collections.picluster.cloud.plugins.module_utils.updates.apply import UnattendedUpdates

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["security", "none"], "default": "security"},
    "origins": {"type": "list", "elements": "str", "default": []},
    "blacklist": {"type": "list", "elements": "str", "default": []},
    "lock_timeout": LOCK_TIMEOUT,
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Enable the node's unattended updates, or remove them."""
    updates = UnattendedUpdates(node, options["lock_timeout"])
    if options["state"] == "none":
        updates.disable()
        return {"origins": []}
    system = policy.distribution(node.files.read(policy.OS_RELEASE) or "")
    desired = policy.UpdatePolicy(
        policy.origins_of(system, options["origins"]), policy.parse_blacklist(options["blacklist"])
    )
    updates.enable(desired)
    return {"origins": list(desired.origins)}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
