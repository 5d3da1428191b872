# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The inventory's own rules: groups, names and types of variables, addresses, boards, the cluster's secret."""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.hostname import (
    HOSTNAME_RULE,
    INTERFACE_RULE,
    is_domain,
    is_hostname,
    is_interface,
    is_label,
)
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.connection import connection_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.groups import NODES_FILE, layer_group_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.names import meant_variable
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.removals import CONFIRM
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import (
    Spec,
    shown,
    value_problems,
    wrong_name,
)
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.subjects import cluster_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.templated import is_templated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.layers import Layer

# As Linux prints it; not a multicast address (the lowest bit of the first pair).
MAC = re.compile(r"(?!00:00:00:00:00:00)[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
SECRET = re.compile(r"[0-9a-fA-F]{64}")
# Prefixes of networks that a cluster can live in; a /31 has no room for two nodes and a router.
PREFIX = Bounds(8, 30, "bits, usually 24")
SECRETS_FILE = "group_vars/all/secrets.yml"
CLUSTER_FILE = "group_vars/all/cluster.yml"

CLUSTER_SPEC: dict[str, Spec] = {
    "cluster_name": {"type": "str"},
    # Its form is checked by secret_problems, which never shows it.
    "cluster_secret": {"type": "raw"},
    "node_address": {"type": "str", "required": True, "example": "192.168.63.11"},
    # What `picluster discover` read from the board.
    "node_mac": {"type": "str"},
    "node_serial": {"type": "str"},
    "node_model": {"type": "str"},
    "node_interface": {"type": "str", "required": True, "example": "eth0"},
    "node_prefix": {"type": "int", "required": True, "example": "24"},
    "node_gateway": {"type": "str", "required": True, "example": "192.168.63.1"},
    "node_dns": {"type": "list", "elements": "str", "required": True, "example": "[192.168.63.1]"},
    "node_search": {"type": "list", "elements": "str"},
    "node_arch": {"type": "str", "choices": ["arm64", "armhf", "amd64"], "required": True, "example": "arm64"},
    # The layers that a run may remove from several nodes, or from the last one; see removals.py.
    CONFIRM: {"type": "str"},
}


def group_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what is wrong with the groups."""
    nodes = inventory.members("nodes")
    if not nodes:
        first = next(iter(inventory.members("all")), "red1")
        yield Problem(
            "the group nodes has no hosts; add them, for example: picluster inventory --name "
            f"{first} --ips {CLUSTER_SPEC['node_address']['example']}",
            group="nodes",
            file=NODES_FILE,
        )
    for name in nodes:
        if name in inventory.groups:
            yield Problem(f"{name!r} is the name of a group, too; rename the node", node=name, group="nodes")
        elif not is_hostname(name):
            yield Problem(f"{name!r} is not a host name; expected {HOSTNAME_RULE}", node=name, group="nodes")


def variable_problems(
    inventory: Inventory, roles: Mapping[str, Mapping[str, Spec]], decided: Sequence[str] = ()
) -> Iterator[Problem]:
    """Yield what is wrong with names, types and choices of the roles' variables.

    The inventory's value of a variable that the playbook sets (`decided`) would be ignored.
    """
    owners: list[tuple[tuple[str, ...], str, Mapping[str, Spec]]] = [
        *(((f"{role}_",), f"the role {role}", options) for role, options in roles.items()),
        (("cluster_", "node_", "confirm_"), "the inventory", CLUSTER_SPEC),
    ]
    fixed = set(decided)
    known = {prefix: set(options) - fixed for starts, _owner, options in owners for prefix in starts}
    prefixes = tuple(known)
    # Most values are shared by all nodes: each is checked once.
    verdicts: dict[tuple[str, str], list[str]] = {}
    slips: dict[str, str] = {}
    for node, variables in inventory.variables.items():
        for name, value in variables.items():
            for owner, options in (entry[1:] for entry in owners if name.startswith(entry[0])):
                key = (name, repr(value))
                if key not in verdicts:
                    if name in fixed:
                        verdicts[key] = [f"{name} is set by the playbook, from the groups and nodes; remove it"]
                    elif name in options:
                        verdicts[key] = list(value_problems(name, options[name], value))
                    else:
                        verdicts[key] = [wrong_name(name, set(options) - fixed, f"a variable of {owner}")]
                for text in verdicts[key]:
                    yield Problem(text, key=name, node=node)
            if not name.startswith(prefixes) and name not in slips:
                slips[name] = meant_variable(name, known)
            if meant := slips.get(name):
                yield Problem(f"{name} is not a variable of any role; did you mean {meant}?", key=name, node=node)


def missing_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield the required variables that a node lacks."""
    for node, variables in inventory.variables.items():
        for key, spec in CLUSTER_SPEC.items():
            if spec.get("required") and key not in variables:
                own = key == "node_address"
                text = f"{key} is missing; add it, for example {key}: {spec['example']}"
                yield Problem(text, key, node, "nodes" if own else "", NODES_FILE if own else CLUSTER_FILE)


def address_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what is wrong with the nodes' addresses; variable_problems reports a wrong type."""
    taken: dict[object, str] = {}
    for node, variables in inventory.variables.items():
        for key, text in (*_address_texts(node, variables, taken), *_name_texts(variables)):
            yield Problem(text, key=key, node=node)


def _address_texts(node: str, variables: Mapping[str, Any], taken: dict[object, str]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the address of a node and its network, each with its variable."""
    text, gateway, prefix = (variables.get(key) for key in ("node_address", "node_gateway", "node_prefix"))
    address = _ipv4(text)
    if address is None and _is_text(text):
        yield "node_address", f"node_address must be an IPv4 address such as 192.168.63.11, got {shown(text)}"
    elif address and (address.is_multicast or address.is_loopback or address.is_unspecified or address.is_reserved):
        text = f"node_address {address} cannot be the address of a host: it is loopback, multicast or reserved"
        yield "node_address", f"{text}; expected one of the network's, such as 192.168.63.11"
        address = None
    elif address and taken.setdefault(address, node) != node:
        yield "node_address", f"node_address {address} is already used by {taken[address]}; addresses must be unique"
    router, bits = _ipv4(gateway), prefix if isinstance(prefix, int) and not isinstance(prefix, bool) else None
    try:
        PREFIX.check("node_prefix", bits)
    except UserError as error:
        yield "node_prefix", str(error)
        return
    if router is None and _is_text(gateway):
        text = f"node_gateway must be the router's IPv4 address such as 192.168.63.1, got {shown(gateway)}"
        yield "node_gateway", text
    elif address and router and bits is not None:
        yield from _net_texts(address, router, bits)


def _net_texts(address: ipaddress.IPv4Address, router: ipaddress.IPv4Address, bits: int) -> Iterator[tuple[str, str]]:
    # ipaddress caches the prefix that it is given: a plain number, not Ansible's with its tags.
    net = ipaddress.IPv4Network((int(router), int(bits)), strict=False)
    first, last = net.network_address + 1, net.broadcast_address - 1
    if router in {net.network_address, net.broadcast_address}:
        text = f"node_gateway {router} is the network or broadcast address of {net}; expected the router's own address"
        yield "node_gateway", text
    if address not in net:
        what = f"is outside {net}, the network of node_gateway {router} and node_prefix {bits}"
    elif address == net.network_address:
        what = f"is the network address of {net}"
    elif address == net.broadcast_address:
        what = f"is the broadcast address of {net}"
    elif address == router:
        what = "is the address of the router (node_gateway)"
    else:
        return
    yield "node_address", f"node_address {address} {what}; expected a free address from {first} to {last}"


def _name_texts(variables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the names of a node's cluster, interface, name servers and search domains."""
    for key, is_name, expected in (
        ("cluster_name", is_label, "one label of a host name such as red: a-z, 0-9 and inner hyphens"),
        ("node_interface", is_interface, INTERFACE_RULE),
    ):
        name = variables.get(key)
        if isinstance(name, str) and not is_templated(name) and not is_name(name):
            yield key, f"{key} is {shown(name)}; expected {expected}"
    if variables.get("node_dns") == []:
        yield "node_dns", "node_dns is empty; add the IP address of a name server, often that of the router"
    rules: tuple[tuple[str, Callable[[str], object], str], ...] = (
        ("node_dns", _ip, "IP addresses of name servers"),
        ("node_search", is_domain, "domains such as home.arpa"),
    )
    for key, is_right, expected in rules:
        values = variables.get(key)
        for value in values if isinstance(values, list) else []:
            if _is_text(value) and not is_right(value):
                yield key, f"{key} contains {shown(value)}; expected {expected}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not is_templated(value)


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _ipv4(value: object) -> ipaddress.IPv4Address | None:
    found = _ip(value) if isinstance(value, str) else None
    return found if isinstance(found, ipaddress.IPv4Address) else None


def board_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what is wrong with the nodes' MAC addresses, and with the addresses that they were found at."""
    taken: dict[object, str] = {}
    for node, variables in inventory.variables.items():
        mac, host = variables.get("node_mac"), variables.get("ansible_host")
        # Behind one router's address there may be several nodes, each at a port of its own.
        place = (host, variables.get("ansible_port"))
        if _is_text(mac) and not MAC.fullmatch(str(mac)):
            text = (
                f"node_mac must be the board's MAC address in lower case such as dc:a6:32:01:02:03, got {shown(mac)}; "
                "run `picluster discover`, which reads it from the board, or remove it"
            )
            yield Problem(text, key="node_mac", node=node)
        elif _is_text(mac) and taken.setdefault(mac, node) != node:
            text = f"node_mac {mac} is already used by {taken[mac]}; MAC addresses must be unique"
            yield Problem(text, key="node_mac", node=node)
        if _is_text(host) and taken.setdefault(place, node) != node:
            text = (
                f"ansible_host {host} is already used by {taken[place]}; set it to the node's own address, which "
                "`picluster discover` finds"
            )
            yield Problem(text, key="ansible_host", node=node)


def secret_problems(inventory: Inventory) -> Iterator[Problem]:
    """Yield what is wrong with the cluster's secret, never showing it."""
    command = _inventory_command(inventory) if inventory.variables else ""
    for node, variables in inventory.variables.items():
        value = variables.get("cluster_secret")
        if value is None:
            text = (
                f"cluster_secret is missing; restore the file from a backup, or for a new cluster run `{command}`, "
                "which generates it"
            )
            yield Problem(text, key="cluster_secret", node=node, file=SECRETS_FILE)
        elif not is_templated(value) and not (isinstance(value, str) and SECRET.fullmatch(value)):
            found = f"a string of {len(value)} characters" if isinstance(value, str) else "no string; put it in quotes"
            text = (
                f"cluster_secret must be 64 hex digits, got {found}; restore the file from a backup (a new secret "
                "locks running layers out)"
            )
            yield Problem(text, key="cluster_secret", node=node)


def _inventory_command(inventory: Inventory) -> str:
    """Return the command that writes what is missing from this inventory, which already has the node's address."""
    node, variables = next(iter(inventory.variables.items()))
    name = variables.get("cluster_name")
    # The command takes the name of the cluster from that of the node.
    other = isinstance(name, str) and not is_templated(name) and name != node.rstrip("0123456789").rstrip("-")
    return f"picluster inventory --name {node}" + (f" --cluster {name}" if other else "")


def mode_problem(path: Path) -> Iterator[Problem]:
    """Yield that other users can read or write the secrets file, unless ansible-vault has encrypted it."""
    if not path.exists() or path.read_bytes().startswith(b"$ANSIBLE_VAULT"):
        return
    mode = path.stat().st_mode & 0o7777
    if mode & 0o077:
        access = "readable" if mode & 0o044 else "accessible"
        yield Problem(
            f"the file is {access} by other users (mode {mode:04o}); run: chmod 600 {shlex.quote(str(path))}",
            file=SECRETS_FILE,
        )


def all_problems(
    inventory: Inventory,
    roles: Mapping[str, Mapping[str, Spec]],
    layers: Sequence[Layer],
    decided: Sequence[str] = (),
) -> list[Problem]:
    """Return all mistakes in an inventory but those in the roles' settings."""
    return [
        *group_problems(inventory),
        *layer_group_problems(inventory, layers),
        *cluster_problems(inventory, roles),
        *missing_problems(inventory),
        *variable_problems(inventory, roles, decided),
        *address_problems(inventory),
        *board_problems(inventory),
        *secret_problems(inventory),
        *connection_problems(inventory),
    ]
