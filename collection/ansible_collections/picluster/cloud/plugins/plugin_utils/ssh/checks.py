# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes through which the controller reaches other nodes: sshd must go on forwarding there. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import check_own_user
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.templated import is_templated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
# ssh(1) -J, ssh_config(5) ProxyJump, and the ssh of a ProxyCommand, whose host can stand anywhere behind its -W.
_JUMPS = (
    re.compile(r"-J\s*([^\s'\"]+)"),
    re.compile(r"ProxyJump[\s=]+[\"']?([^\s'\"]+)", re.IGNORECASE),
    re.compile(r"ProxyCommand[\s=]+[\"']?[^\"']*\s-W\s([^\"']*)", re.IGNORECASE),
)
_OPENS = {"yes", "all", "local", "true"}


def jumps(arguments: str) -> set[str]:
    """Return the jump hosts in ssh's arguments, without user and port, and perhaps words that are not hosts."""
    found = (word for pattern in _JUMPS for match in pattern.findall(arguments) for word in re.split(r"[,\s]+", match))
    return {re.sub(r"^(?:ssh://)?(?:.*@)?\[?([^\[\]]*?)\]?(?::\d+)?/?$", r"\1", word) for word in found} - {""}


def _forwards(variables: Mapping[str, Any]) -> bool:
    settings = variables.get("ssh_settings", {})
    if not isinstance(settings, dict) or any(is_templated(key) for key in settings):
        return True
    values = {str(keyword).lower(): value for keyword, value in settings.items()}
    if "allowtcpforwarding" not in values:
        return False
    value = values["allowtcpforwarding"]
    # Null leaves it to sshd, which forwards.
    return value is None or is_templated(value) or str(value).lower() in _OPENS


def cluster_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield which nodes would be out of reach once the node in front of them stops forwarding."""
    names = {str(variables.get("node_address")): node for node, variables in inventory.variables.items()}
    names |= {node: node for node in inventory.variables}
    for node, variables in inventory.variables.items():
        for key in _ARGUMENTS:
            for way in sorted({names[host] for host in jumps(str(variables.get(key, ""))) if host in names}):
                if way != node and not _forwards(inventory.variables[way]):
                    yield Problem(
                        f"ssh goes through {way}, where the role ssh disables forwarding, so that only {way} would "
                        f"remain reachable; set ssh_settings: {{AllowTcpForwarding: local}} for {way}",
                        key=key,
                        node=node,
                    )


def setting_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield the nodes on which the user that Ansible logs in as could no longer do so."""
    for node, variables in inventory.variables.items():
        operators, user = variables.get("ssh_operators"), variables.get("ansible_user")
        settings = variables.get("ssh_settings") or {}
        if user == "root" and not any(str(keyword).lower() == "permitrootlogin" for keyword in settings):
            yield Problem(
                "ansible_user is root, who cannot log in under the policy: PermitRootLogin is no; log in as another "
                "user, or set PermitRootLogin in ssh_settings",
                key="ansible_user",
                node=node,
            )
        if isinstance(operators, dict) and isinstance(user, str) and not any(map(is_templated, (user, *operators))):
            try:
                check_own_user(user, operators)
            except UserError as error:
                yield Problem(f"ssh_{error}", key="ssh_operators", node=node)
