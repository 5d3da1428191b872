# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Settings that have the right type and cannot work all the same, found before any node is touched.

The modules judge again on the node: who uses a role without the inventory's check is told the same, only later.
"""

from __future__ import annotations

import zoneinfo
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import check_window
from ansible_collections.picluster.cloud.plugins.module_utils.firewall import rules
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import (
    DEFAULT_MEMORY,
    check_settings,
    read_settings,
)
from ansible_collections.picluster.cloud.plugins.module_utils.identity.rules import (
    check_locale,
    check_servers,
    check_timezone,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s import rules as k3s_rules
from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import check_wait
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import check_lock_timeout
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry import rules as raspberry_rules
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import parse_operators
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import exempt_sources, merged_policy
from ansible_collections.picluster.cloud.plugins.module_utils.updates import policy, reboot
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.jumps import jump_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.rules import Inventory, Problem
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import (
    Spec,
    is_decided_later,
    value_problems,
)
from ansible_collections.picluster.cloud.plugins.plugin_utils.network.vacate import parse_parking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


def _judge_k3s(**settings: Any) -> None:  # noqa: ANN401 - a user's YAML values
    """Judge settings of k3s on a node where all else is right."""
    right: dict[str, Any] = {"version": "v1.36.4+k3s1", "role": "server", "node_name": "red1"}
    right |= {"server_address": "192.168.63.11", "node_address": "192.168.63.11"}
    right |= dict.fromkeys(("token", "agent_token"), "0123456789abcdef")
    k3s_rules.check_settings(k3s_rules.K3sSettings(**{**right, **settings}))


def _hadoop_settings(**settings: Any) -> None:  # noqa: ANN401 - a user's YAML values
    """Judge settings of Hadoop on a node where all else is right."""
    right: dict[str, Any] = dict.fromkeys(("home", "release", "java_home"), "")
    right |= dict.fromkeys(("replication", "block_size", "disk_reserved", "vcores"), 0)
    right |= {"node": "red1", "master": "red1", "workers": ["red1"], "daemons": [], "users": [], "heaps": {}}
    right |= {"memory": DEFAULT_MEMORY, "properties": {}}
    check_settings(read_settings({**right, **settings}))


def _judge_memory(value: Mapping[str, Any]) -> None:
    # One size that is not known yet can make the others right.
    if not any(map(is_decided_later, value.values())):
        _hadoop_settings(memory={**DEFAULT_MEMORY, **value})


def _judge_properties(value: Mapping[str, Any]) -> None:
    _hadoop_settings(properties={site: {} if is_decided_later(names) else names for site, names in value.items()})


def _judge_ssh(value: Mapping[str, Any]) -> None:
    merged_policy({keyword: "later" if is_decided_later(said) else said for keyword, said in value.items()})


def _known(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if not is_decided_later(value)]


def _judge_exempt(value: list[Any]) -> None:
    exempt_sources(None, [network for network in value if not is_decided_later(network)])


def _judge_operators(value: Mapping[str, Any]) -> None:
    # Keys are often looked up in files; what is not known yet is judged on the node.
    if not any(is_decided_later(entry) for entry in _leaves(value)):
        parse_operators(value)


def _judge_bounds(name: str) -> Callable[[int | None], None]:
    def judge(value: int | None) -> None:
        if value is not None:
            raspberry_rules.check_bounds(name, value)

    return judge


def _leaves(value: object) -> Iterator[object]:
    """Yield everything inside mappings and lists."""
    if isinstance(value, dict):
        for entry in value.values():
            yield from _leaves(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _leaves(entry)
    else:
        yield value


_JUDGES: dict[str, Callable[[Any], object]] = {
    # A controller without the tz database leaves it to the nodes.
    "identity_timezone": lambda value: check_timezone(value, zoneinfo.available_timezones()),
    "identity_locale": check_locale,
    "identity_ntp_servers": lambda value: check_servers(_known(value)),
    "k3s_version": k3s_rules.kubernetes_version,
    "k3s_config": lambda value: _judge_k3s(config=value),
    "k3s_limit_nofile": lambda value: _judge_k3s(limit_nofile=value),
    "hadoop_memory": _judge_memory,
    "hadoop_properties": _judge_properties,
    "ssh_settings": _judge_ssh,
    "firewall_node_ports": lambda value: rules.parse_node_ports(_known(value)),
    "firewall_public_ports": lambda value: rules.parse_ports(_known(value), "public_ports"),
    "firewall_ssh_port": rules.check_ssh_port,
    "firewall_management": lambda value: rules.parse_networks(_known(value), "management"),
    "firewall_confirm_within": check_window,
    "firewall_container_interfaces": lambda value: rules.check_containers(_known(value), ""),
    **{f"raspberry_{name}": _judge_bounds(name) for name in raspberry_rules.BOUNDS},
    "updates_origins": lambda value: policy.parse_origins(_known(value)),
    "updates_blacklist": lambda value: policy.parse_blacklist(_known(value)),
    "updates_lock_timeout": check_lock_timeout,
    "reboot_batch": reboot.check_batch,
    "reboot_timeout": reboot.check_wait,
    "reboot_health_within": reboot.check_wait,
    "network_confirm_within": check_window,
    "network_wait_for_address": check_wait,
    "network_parking": lambda value: value and parse_parking(value),
    "ssh_exempt": _judge_exempt,
    "ssh_operators": _judge_operators,
    "ssh_confirm_within": check_window,
}


def _verdict(name: str, spec: Spec, value: object) -> str:
    """Return one sentence about a value, empty if it can work; a wrong type is said elsewhere."""
    if is_decided_later(value) or next(value_problems(name, spec, value), ""):
        return ""
    try:
        _JUDGES[name](value)
    except (UserError, ValueError) as error:
        text = str(error)
        option = name.partition("_")[2]
        if text.startswith(option):  # a module calls its option without the role's name
            return f"{name.removesuffix(option)}{text}"
        return text if text.startswith(name) else f"{name}: {text}"
    return ""


def setting_problems(inventory: Inventory, roles: Mapping[str, Mapping[str, Spec]]) -> Iterator[Problem]:
    """Yield which values, right in type, the modules would refuse in the middle of the run."""
    specs = {name: options[name] for options in roles.values() for name in _JUDGES if name in options}
    judged: dict[tuple[str, str], str] = {}
    for node, variables in inventory.variables.items():
        for name, spec in specs.items():
            if name in variables:
                memory = (name, repr(variables[name]))
                if memory not in judged:
                    judged[memory] = _verdict(name, spec, variables[name])
                if judged[memory]:
                    yield Problem(judged[memory], key=name, node=node)
    yield from jump_problems(inventory)


def fetch_problems(
    inventory: Inventory, fetched: Mapping[str, Mapping[str, Spec]], controller: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yield which settings of a node the controller, which fetches once for all nodes, would not see.

    Args:
        inventory: the inventory.
        fetched: by role the variables with which the controller fetches.
        controller: the controller's own variables; it is in no group but all.
    """
    for node, variables in inventory.variables.items():
        for role, options in fetched.items():
            for name in options:
                if name in variables and (name not in controller or controller[name] != variables[name]):
                    yield Problem(
                        f"{name} counts for all nodes, as {role} is fetched once on the controller, which does not see "
                        "it here: move it to group_vars/all",
                        key=name,
                        node=node,
                    )
