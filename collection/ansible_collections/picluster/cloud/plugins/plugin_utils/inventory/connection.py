# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""How Ansible reaches the nodes: the variables of a generated inventory, which Ansible does not check by itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.hostname import is_user
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import Spec, shown, value_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.templated import is_templated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SPEC: dict[str, Spec] = {
    "ansible_host": {"type": "str"},
    "ansible_port": {"type": "int"},
    "ansible_user": {"type": "str"},
    "ansible_python_interpreter": {"type": "str"},
    "ansible_ssh_private_key_file": {"type": "str"},
    "ansible_ssh_common_args": {"type": "str"},
    "ansible_host_key_checking": {"type": "bool"},
    "ansible_ssh_host_key_checking": {"type": "bool"},
}
PORT = Bounds(1, 65535)
_UNCHECKED = re.compile(r"StrictHostKeyChecking[=\s]+[\"']?(no|off)\b", re.IGNORECASE)
_POSE = "any machine could pose as a node; remove it: a node's first host key is accepted, any other is refused"


def _host(value: str) -> str:
    # It may be an alias of ssh_config(5), too.
    return "" if re.fullmatch(r"[^\s/]+", value) else "; expected an IP address or a host name"


def _user(value: str) -> str:
    return "" if is_user(value) else "; expected a user name such as pi"


def _arguments(value: str) -> str:
    return f"; with StrictHostKeyChecking off, {_POSE}" if _UNCHECKED.search(value) else ""


def _checking(value: bool) -> str:  # noqa: FBT001 - a setting
    return "" if value else f", so {_POSE}"


_CHECKS: dict[str, Callable[[Any], str]] = {
    "ansible_host": _host,
    "ansible_user": _user,
    "ansible_ssh_common_args": _arguments,
    "ansible_host_key_checking": _checking,
    "ansible_ssh_host_key_checking": _checking,
}


def _texts(name: str, value: object) -> Iterator[str]:
    """Yield what is wrong with a value."""
    wrong = list(value_problems(name, SPEC[name], value))
    yield from wrong
    if wrong or is_templated(value):
        return
    if name == "ansible_port" and isinstance(value, int):
        try:
            PORT.check(name, value)
        except UserError as error:
            yield str(error)
    text = _CHECKS[name](value) if name in _CHECKS else ""
    if text:
        yield f"{name} is {shown(value)}{text}"


def connection_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what is wrong with the variables by which Ansible reaches the nodes."""
    for node, variables in inventory.variables.items():
        for name in (name for name in SPEC if name in variables):
            for text in _texts(name, variables[name]):
                yield Problem(text, key=name, node=node)
