#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Give a copied node host keys of its own, in two steps, between which the controller learns them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_keys
short_description: Host keys of its own for a copied node
description:
  - For the action plugin of M(picluster.cloud.identity), which calls it for a node whose host key C(known_hosts) shows
    under another node's name too.
  - V(prepared) makes new keys aside, of the kinds that are there, if one of the present ones is another node's.
    sshd goes on with the present ones. Keys that an earlier call made and nobody put in force are taken.
  - V(in_force) puts them in place, has sshd read them, and waits until sshd shows them. Open sessions stay.
version_added: 0.1.0
options:
  state:
    description: What is wanted of the keys.
    type: str
    choices: [prepared, in_force]
    default: prepared
  foreign:
    description: Public keys of other nodes, as type and base64 text.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the public keys that go.
  idempotent:
    support: full
    description: A second call changes nothing.
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Make new host keys aside
  picluster.cloud.host_keys:
    foreign: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIoB9rJk3u0Nf2c0l0b1tq7s0m4dYfZ2xJQ8m1x5q3aB]
"""

RETURN = r"""
keys:
  description: The public keys that sshd shows once all that was made aside is in force.
  returned: when prepared
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.identity.host_keys import HostKeys
from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles, card_trouble


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["prepared", "in_force"], "default": "prepared"},
            "foreign": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    files = TextFiles(module)
    keys = HostKeys(module, files)
    result: dict[str, Any] = {}
    try:
        if module.params["state"] == "prepared":
            result["keys"] = keys.prepare(module.params["foreign"])
        elif not module.check_mode:
            keys.put_in_force(current_connection())
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    module.exit_json(changed=files.changed, diff=files.diff, **result)


if __name__ == "__main__":
    main()
