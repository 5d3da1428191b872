#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Install Debian packages on a node that may have no package lists yet, or lost its power while dpkg was at work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install Debian packages, on a fresh card too
description:
  - Installs packages without those that they only recommend. Fetches the package lists only if a package is not
    installed and the lists do not know it, or name a version that the mirror no longer has.
  - M(ansible.builtin.apt) fails in check mode on a stock card, which has no package lists, and on a node that lost its
    power while dpkg was at work; this module does not.
version_added: 0.1.0
options:
  names:
    description: The packages.
    type: list
    elements: str
    required: true
extends_documentation_fragment: [picluster.cloud.lock_timeout, picluster.cloud.attributes]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Install a Java runtime
  picluster.cloud.packages:
    names: [default-jre-headless]
"""

RETURN = r"""
installed:
  description: The packages that were missing.
  returned: success
  type: list
  elements: str
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import LOCK_TIMEOUT, Packages

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "names": {"type": "list", "elements": "str", "required": True},
    "lock_timeout": LOCK_TIMEOUT,
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Install the packages that are missing."""
    packages = Packages(node, options["lock_timeout"])
    missing = packages.missing(options["names"])
    packages.install(missing)
    return {"installed": missing}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
