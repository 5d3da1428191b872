# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What an inventory must be like before any node is touched. Pure: no Ansible, no node, no file."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.hostname import HOSTNAME_RULE, is_domain, is_hostname
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import (
    Spec,
    is_decided_later,
    shown,
    value_problems,
    wrong_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LAYER_GROUPS = ("docker", "k3s_server", "k3s_agent", "hadoop_master", "hadoop_worker")
# Two hex digits six times, as Linux shows it, of one board: not of a group (the lowest bit of the first pair).
MAC = re.compile(r"(?!00:00:00:00:00:00)[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
SECRET = re.compile(r"[0-9a-fA-F]{64}")
# Bits of a net that a cluster can live in: not the whole internet, and not without room for two nodes and a router.
WIDEST_NET, SMALLEST_NET = 8, 30
SECRETS_FILE = "group_vars/all/secrets.yml"
CLUSTER_FILE = "group_vars/all/cluster.yml"
NODES_FILE = "10-nodes.yml"

CLUSTER_SPEC: dict[str, Spec] = {
    "cluster_name": {"type": "str"},
    # What it must look like is said by secret_problems, which never shows it.
    "cluster_secret": {"type": "raw"},
    "node_address": {"type": "str", "required": True, "example": "192.168.63.11"},
    # What the board told of itself to `picluster discover`.
    "node_mac": {"type": "str"},
    "node_serial": {"type": "str"},
    "node_model": {"type": "str"},
    "node_interface": {"type": "str", "required": True, "example": "eth0"},
    "node_prefix": {"type": "int", "required": True, "example": "24"},
    "node_gateway": {"type": "str", "required": True, "example": "192.168.63.1"},
    "node_dns": {"type": "list", "elements": "str", "required": True, "example": "[192.168.63.1]"},
    "node_search": {"type": "list", "elements": "str"},
    "node_arch": {"type": "str", "choices": ["arm64", "armhf", "amd64"], "required": True, "example": "arm64"},
}


@dataclass(frozen=True)
class Inventory:
    """The inventory as Ansible has read it.

    Attributes:
        groups: the hosts of each group.
        variables: each node's variables, not templated.
    """

    groups: Mapping[str, Sequence[str]]
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def members(self, group: str) -> list[str]:
        """Return a group's hosts, none if there is no such group."""
        return list(self.groups.get(group, []))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        text: what was found and what would be right.
        key: the variable it is about, if any.
        node: the node it is about, if any.
        group: the group it is about, if any.
        file: where it belongs, below the inventory's directory, if it is not there yet.
    """

    text: str
    key: str = ""
    node: str = ""
    group: str = ""
    file: str = ""


def group_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what is wrong with who runs what."""
    nodes = inventory.members("nodes")
    if not nodes:
        yield Problem(
            "the group nodes has no host, wanted is at least one: let `picluster inventory` write them",
            group="nodes",
            file=NODES_FILE,
        )
    for name in nodes:
        if not is_hostname(name):
            yield Problem(f"{name!r} is not a host name; expected {HOSTNAME_RULE}", node=name, group="nodes")
    known = set(nodes)
    for group in LAYER_GROUPS:
        for name in inventory.members(group):
            if name not in known:
                yield Problem(
                    f"{name} is in {group} but not in nodes: add it to {NODES_FILE} or take it out of {group}",
                    node=name,
                    group=group,
                )
    yield from _k3s_problems(inventory)
    yield from _hadoop_problems(inventory)


def _k3s_problems(inventory: Inventory) -> Iterator[Problem]:
    servers, agents = inventory.members("k3s_server"), inventory.members("k3s_agent")
    if agents and not servers:
        yield Problem("k3s_agent has nodes but k3s_server has none: put one node into k3s_server", group="k3s_agent")
    if len(servers) > 1:
        yield Problem(
            f"k3s_server has {', '.join(servers)}, and one server is supported so far: put the others into k3s_agent",
            group="k3s_server",
        )
    for name in servers:
        if name in agents:
            yield Problem(
                f"{name} is in k3s_server and in k3s_agent: take it out of one of them", node=name, group="k3s_agent"
            )


def _hadoop_problems(inventory: Inventory) -> Iterator[Problem]:
    masters, workers = inventory.members("hadoop_master"), inventory.members("hadoop_worker")
    if len(masters) > 1:
        yield Problem(
            f"hadoop_master has {', '.join(masters)}, wanted is one node: take the others out", group="hadoop_master"
        )
    if workers and not masters:
        yield Problem(
            "hadoop_worker has nodes but hadoop_master has none: put one node into hadoop_master", group="hadoop_worker"
        )
    if masters and not workers:
        yield Problem(
            "hadoop_master has a node but hadoop_worker has none: put the nodes that store and compute into "
            "hadoop_worker, the master itself if there is no other",
            group="hadoop_master",
        )


def variable_problems(
    inventory: Inventory, roles: Mapping[str, Mapping[str, Spec]], decided: Sequence[str] = ()
) -> Iterator[Problem]:
    """Yield what is wrong with names, types and choices of variables.

    Args:
        inventory: the inventory.
        roles: the variables that each role has, and their specifications.
        decided: the variables that the playbook itself sets, so that the inventory's value would be ignored.
    """
    owners: list[tuple[tuple[str, ...], str, Mapping[str, Spec]]] = [
        *(((f"{role}_",), f"the role {role}", options) for role, options in roles.items()),
        (("cluster_", "node_"), "the inventory", CLUSTER_SPEC),
    ]
    fixed = set(decided)
    # Most values are shared by all nodes: each one is judged once.
    judged: dict[tuple[str, str], list[str]] = {}
    for node, variables in inventory.variables.items():
        for name, value in variables.items():
            for prefixes, owner, options in owners:
                if not name.startswith(prefixes):
                    continue
                memory = (name, repr(value))
                if memory not in judged:
                    if name in fixed:
                        judged[memory] = [f"{name} is set by the playbook itself, from groups and nodes: take it out"]
                    elif name in options:
                        judged[memory] = list(value_problems(name, options[name], value))
                    else:
                        judged[memory] = [wrong_name(name, set(options) - fixed, owner)]
                for text in judged[memory]:
                    yield Problem(text, key=name, node=node)


def missing_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield which variables every node needs and lacks."""
    for node, variables in inventory.variables.items():
        for key, spec in CLUSTER_SPEC.items():
            if spec.get("required") and key not in variables:
                own = key == "node_address"
                text = f"{key} is missing, wanted is for example {key}: {spec['example']}"
                yield Problem(
                    text, key=key, node=node, group="nodes" if own else "", file=NODES_FILE if own else CLUSTER_FILE
                )


def address_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what is wrong with the nodes' addresses. Values of a wrong type are variable_problems' business."""
    taken: dict[str, str] = {}
    for node, variables in inventory.variables.items():
        text, gateway, prefix = (variables.get(key) for key in ("node_address", "node_gateway", "node_prefix"))
        address = None
        if isinstance(text, str) and not is_decided_later(text):
            address = _ipv4(text)
            if address is None:
                yield Problem(
                    f"node_address is {shown(text)}, wanted is an IPv4 address such as 192.168.63.11",
                    key="node_address",
                    node=node,
                )
            elif str(address) in taken:
                yield Problem(
                    f"node_address {address} is {taken[str(address)]}'s already, wanted is one address a node",
                    key="node_address",
                    node=node,
                )
            else:
                taken[str(address)] = node
        yield from _net_problems(node, address, gateway, prefix)
        yield from _name_problems(node, variables)


def _name_problems(node: str, variables: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with how a node looks names up."""
    rules: tuple[tuple[str, Callable[[str], bool], str], ...] = (
        ("node_dns", lambda value: _ip(value) is not None, "IP addresses of name servers"),
        ("node_search", is_domain, "domains such as home.arpa"),
    )
    for key, judge, wanted in rules:
        values = variables.get(key)
        for value in values if isinstance(values, list) else []:
            if isinstance(value, str) and not is_decided_later(value) and not judge(value):
                yield Problem(f"{key} has {shown(value)}, wanted are {wanted}", key=key, node=node)


def _net_problems(
    node: str, address: ipaddress.IPv4Address | None, gateway: object, prefix: object
) -> Iterator[Problem]:
    if isinstance(prefix, int) and not isinstance(prefix, bool) and not WIDEST_NET <= prefix <= SMALLEST_NET:
        yield Problem(
            f"node_prefix is {prefix}, wanted are the bits of the network: 8 to 30, mostly 24",
            key="node_prefix",
            node=node,
        )
        return
    if not isinstance(gateway, str) or is_decided_later(gateway):
        return
    router = _ipv4(gateway)
    if router is None:
        yield Problem(
            f"node_gateway is {shown(gateway)}, wanted is the router's IPv4 address such as 192.168.63.1",
            key="node_gateway",
            node=node,
        )
        return
    if address is None or not isinstance(prefix, int) or isinstance(prefix, bool):
        return
    # ipaddress caches the prefix that it is given: a plain number, not Ansible's with its tags.
    net = ipaddress.IPv4Network((int(router), int(prefix)), strict=False)
    first, last = net.network_address + 1, net.broadcast_address - 1
    what = ""
    if address not in net:
        what = f"is outside {net}, the net of node_gateway {router} and node_prefix {prefix}"
    elif address == net.network_address:
        what = f"is the number of the net {net} itself"
    elif address == net.broadcast_address:
        what = f"is the broadcast address of {net}"
    elif address == router:
        what = "is the router's (node_gateway)"
    if what:
        yield Problem(
            f"node_address {address} {what}, wanted is a free one from {first} to {last}", key="node_address", node=node
        )


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _ipv4(text: str) -> ipaddress.IPv4Address | None:
    found = _ip(text)
    return found if isinstance(found, ipaddress.IPv4Address) else None


def board_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what is wrong with the nodes' MACs, and with where they were found."""
    macs: dict[str, str] = {}
    places: dict[tuple[str, object], str] = {}
    for node, variables in inventory.variables.items():
        mac, host = variables.get("node_mac"), variables.get("ansible_host")
        if isinstance(mac, str) and not is_decided_later(mac):
            if not MAC.fullmatch(mac):
                yield Problem(
                    f"node_mac is {shown(mac)}, wanted is a board's MAC in small letters such as dc:a6:32:01:02:03, or "
                    "none: `picluster discover` finds it",
                    key="node_mac",
                    node=node,
                )
            elif macs.setdefault(mac, node) != node:
                yield Problem(
                    f"node_mac {mac} is {macs[mac]}'s already, wanted is each board's own: `picluster discover` finds "
                    "it",
                    key="node_mac",
                    node=node,
                )
        if not isinstance(host, str) or is_decided_later(host):
            continue
        # Behind one router's address there may be several nodes, each at a port of its own.
        place = (host, variables.get("ansible_port"))
        if places.setdefault(place, node) != node:
            yield Problem(
                f"ansible_host {host} is {places[place]}'s already, wanted is where this node itself is: `picluster "
                "discover` finds it",
                key="ansible_host",
                node=node,
            )


def secret_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what is wrong with the cluster's secret, never showing it."""
    for node, variables in inventory.variables.items():
        value = variables.get("cluster_secret")
        if value is None:
            text = "cluster_secret is missing, wanted are 64 hex digits: `picluster inventory` makes the file"
            yield Problem(text, key="cluster_secret", node=node, file=SECRETS_FILE)
        elif not is_decided_later(value) and not (isinstance(value, str) and SECRET.fullmatch(value)):
            found = f"{len(value)} characters" if isinstance(value, str) else "no text (put it into quotes)"
            text = (
                f"cluster_secret is {found}, wanted are 64 hex digits: take the file away and let `picluster "
                "inventory` make it anew"
            )
            yield Problem(text, key="cluster_secret", node=node)


def mode_problem(mode: int) -> Problem | None:
    """Return what is wrong with the permission bits of the secrets file."""
    if not mode & 0o077:
        return None
    return Problem(
        f"others than its owner may read or write this file (mode {mode & 0o7777:04o}), wanted is mode 0600: "
        "chmod 600 it",
        file=SECRETS_FILE,
    )


def all_problems(
    inventory: Inventory, roles: Mapping[str, Mapping[str, Spec]], decided: Sequence[str] = ()
) -> list[Problem]:
    """Return everything that is wrong with an inventory."""
    return [
        *group_problems(inventory),
        *missing_problems(inventory),
        *variable_problems(inventory, roles, decided),
        *address_problems(inventory),
        *board_problems(inventory),
        *secret_problems(inventory),
    ]
