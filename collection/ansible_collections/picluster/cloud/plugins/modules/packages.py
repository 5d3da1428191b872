#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Debian packages on a node that may never have fetched its package lists, or was cut off while it installed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Have Debian packages installed, on a fresh card too
description:
  - Installs packages without what they only recommend. Fetches the package lists only if a package is not installed and
    the lists do not know it, or name a version that the mirror has no more.
  - M(ansible.builtin.apt) fails in check mode on a stock card, which has no package lists, and on a node that lost its
    power while dpkg was at work; this module does not.
version_added: 0.1.0
options:
  names:
    description: The packages.
    type: list
    elements: str
    required: true
  lock_timeout:
    description: Seconds to wait for another program that holds the package database.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
    description: Says which packages are missing and changes nothing.
  diff_mode:
    support: full
  idempotent:
    support: full
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Have a Java runtime
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

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.node.old_packages import Apt


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "lock_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    apt = Apt(module, module.params["lock_timeout"])
    missing = apt.missing(module.params["names"])
    if missing and not module.check_mode:
        try:
            apt.install(missing, optional=set())
        except ValueError as error:
            module.fail_json(msg=str(error))
    diff = {"before": "", "after": "".join(f"{name}\n" for name in missing), "after_header": "packages"}
    module.exit_json(changed=bool(missing), installed=missing, diff=diff)


if __name__ == "__main__":
    main()
