#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Make keys the only way to log in to a node, and verify the configuration before sshd reads it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sshd_policy
short_description: Configure who may log in by ssh, and how
description:
  - Manages C(/etc/ssh/sshd_config.d/00-picluster.conf). sshd uses the first value of a keyword, so the drop-in must
    sort before C(50-cloud-init.conf), which may allow passwords.
  - sshd checks the policy alone, then together with all its other files, and the values in effect for O(user) are
    compared with the policy, all before sshd is reloaded. On any failure, the node is rolled back at once.
  - Fails if O(user) has no authorized key that sshd would accept.
  - A change stays only if a new login from the controller succeeds; otherwise the node rolls back by itself.
version_added: 0.1.0
extends_documentation_fragment:
  - picluster.cloud.attributes
  - picluster.cloud.confirmed
options:
  user:
    description: The user that Ansible logs in as, who must not be locked out.
    type: str
    required: true
  profile:
    description:
      - V(pq) offers only post-quantum key exchanges; clients need OpenSSH 9.0 or newer.
      - V(policy) offers what ssh-audit's built-in policy for the release expects; on OpenSSH 9 this includes older key
        exchanges and an RSA host key of 4096 bits.
    type: str
    choices: [pq, policy]
    default: pq
  settings:
    description:
      - Keywords of C(sshd_config) and their values, on top of the module's own policy. A list writes one line for each
        element; null removes a keyword of the policy.
    type: dict
    default: {}
  exempt:
    description:
      - Addresses and networks that sshd never penalizes for failed logins (OpenSSH 9.8 and newer), in addition to the
        controller's own address.
    type: list
    elements: str
    default: []
  operators:
    description:
      - Users who may log in. For each user name, a mapping of C(keys), a list of public keys, and C(sudo), whether the
        user may become root without a password.
      - Exclusive. Missing accounts are created, other keys of these users are removed, and nobody else may log in. A
        user who is no longer listed keeps the account, but not keys and sudo.
      - If empty, accounts and keys are left alone.
    type: dict
    default: {}
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Allow only keys
  picluster.cloud.sshd_policy:
    user: pi
    settings:
      MaxAuthTries: 2
    exempt: [192.168.63.0/24]
    operators:
      pi:
        keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIoB9rJk3u0Nf2c0l0b1tq7s0m4dYfZ2xJQ8m1x5q3aB me@home]
        sudo: true
"""

RETURN = r"""
reloaded:
  description: Whether sshd was reloaded.
  returned: success
  type: bool
effective:
  description: The policy's keywords with the values that are in effect for the user.
  returned: success, except in check mode on a node that would change
  type: dict
  sample: {passwordauthentication: ['no']}
left_out:
  description: Optional keywords of the policy that this release of sshd does not know, in lower case.
  returned: success
  type: list
  elements: str
  sample: [persourcepenaltyexemptlist]
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import ARGUMENTS, Rollback
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import check_bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.apply import Access
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.checks import BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import PROFILES

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "user": {"type": "str", "required": True},
    "profile": {"type": "str", "choices": list(PROFILES), "default": "pq"},
    "settings": {"type": "dict", "default": {}},
    "exempt": {"type": "list", "elements": "str", "default": []},
    "operators": {"type": "dict", "default": {}},
    **ARGUMENTS,
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Bring access to the node to the policy."""
    check_bounds(BOUNDS, options)
    rollback = Rollback(node, "sshd")
    access = Access(node, rollback, options, current_connection())
    with rollback.alone():
        return access.converge()


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
