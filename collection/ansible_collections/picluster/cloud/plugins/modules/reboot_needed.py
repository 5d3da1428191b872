#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Ask a node whether it needs a restart."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reboot_needed
short_description: Whether a node needs a restart, and why
description:
  - Something asked for it by C(/run/reboot-required), as packages and roles do, or a newer kernel of the running one's
    flavour is installed.
version_added: 0.1.0
attributes:
  check_mode:
    support: full
    description: Changes nothing, in check mode or not.
  diff_mode:
    support: none
  idempotent:
    support: full
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Ask for a restart's reasons
  picluster.cloud.reboot_needed:
  register: asked
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
  sample: ["kernel 6.12.47+rpt-rpi-v8 is installed, 6.12.34+rpt-rpi-v8 runs"]
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text
from ansible_collections.picluster.cloud.plugins.module_utils.updates.reboot import reasons

REQUIRED = "run/reboot-required"


def installed_kernels(root: Path) -> list[str]:
    """Return the releases of the kernels that are whole: their modules are indexed, which dpkg does last."""
    return sorted(path.parent.name for path in (root / "lib/modules").glob("*/modules.dep"))


def ask(root: Path, running: str) -> list[str]:
    """Return why the node below `root` needs a restart.

    Raises:
        OSError: a file is there and cannot be read.
    """
    packages = read_text(str(root / f"{REQUIRED}.pkgs")) or ""
    return reasons((root / REQUIRED).exists(), packages, running, installed_kernels(root))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        found = ask(Path("/"), os.uname().release)
    except OSError as error:
        module.fail_json(msg=f"{error.filename} cannot be read: {error.strerror}; run this with become")
    module.exit_json(changed=False, needed=bool(found), reasons=found)


if __name__ == "__main__":
    main()
