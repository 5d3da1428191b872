# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Programs that a module runs on the node, and what it says when one of them fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def run_checked(module: AnsibleModule, *command: str) -> str:
    """Return what a command prints.

    Raises:
        ValueError: it ended with another code than 0; the message is the command with its own words, on one line.
    """
    rc, out, err = module.run_command(list(command))
    if rc != 0:
        raise ValueError(f"{' '.join(command)} failed: {' '.join((err or out).split())}")
    return str(out)
