# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a node's firewall: checked and parsed. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import network_of
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    # Not at run time: Bullseye's Python 3.9 cannot join types like this.
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SSH_PORT = 22
LAST_PORT = 65535
# Interfaces of containers: Docker's bridges, and those of k3s (flannel and its replacements).
CONTAINERS = ("br-*", "cali*", "cni*", "docker*", "flannel*", "veth*")

_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp))?")
# IFNAMSIZ of the kernel, less the closing zero.
_INTERFACE = re.compile(r"[A-Za-z0-9_.:-]{1,14}[A-Za-z0-9_.:*-]")


@dataclass(frozen=True)
class Ports:
    """Ports of the two protocols, as ordered ranges that neither touch nor overlap."""

    tcp: tuple[tuple[int, int], ...] = ()
    udp: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class FirewallPolicy:
    """Who may reach what on a node.

    The nodes may reach `node_ports` on each other, None for all. The `controller` may log in by ssh where other hosts
    may not. The `management` networks may reach everything. Any host may reach `public`, on the node and in containers.
    """

    nodes: tuple[Network, ...] = ()
    node_ports: Ports | None = None
    controller: tuple[Network, ...] = ()
    management: tuple[Network, ...] = ()
    ssh_port: int = SSH_PORT
    strangers_ssh: bool = True
    public: Ports = field(default_factory=Ports)
    containers: tuple[str, ...] = CONTAINERS


def read_policy(options: Mapping[str, Any], client: str) -> FirewallPolicy:
    """Return the policy of the module's options; raise UserError if an option is invalid or no host could log in.

    `client` is the address that Ansible connects from, as the node sees it; empty if it is not connected by ssh.
    """
    management = parse_networks(options["management"], "management")
    if not (client or options["strangers_ssh"] or management):
        raise UserError(
            "management is empty, although strangers_ssh is false and Ansible is not connected by ssh: nobody could "
            "log in; add the networks that may"
        )
    # Where any host may connect, one more address would only make the rules depend on who ran Ansible last.
    known = client and not options["strangers_ssh"]
    return FirewallPolicy(
        nodes=parse_networks(options["nodes"], "nodes"),
        node_ports=parse_node_ports(options["node_ports"]),
        controller=(network_of(client),) if known else (),
        management=management,
        ssh_port=options["ssh_port"],
        strangers_ssh=options["strangers_ssh"],
        public=parse_ports(options["public_ports"], "public_ports"),
        containers=check_containers(options["container_interfaces"], options["interface"]),
    )


def parse_ports(values: Iterable[object], option: str) -> Ports:
    """Return the ports of a list such as `[80, 8000-8010, 53/udp]` (default TCP); raise UserError if one is invalid."""
    found: dict[str, list[tuple[int, int]]] = {"tcp": [], "udp": []}
    for value in values:
        match = None if isinstance(value, bool) else _PORTS.fullmatch(str(value).strip())
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else 0
        if match is None or not 1 <= first <= last <= LAST_PORT:
            raise UserError(
                f"{option} contains {value!r}; expected ports from 1 to {LAST_PORT}, such as 80, 8000-8010 or 53/udp"
            )
        found[match[3] or "tcp"].append((first, last))
    return Ports(tcp=_merged(found["tcp"]), udp=_merged(found["udp"]))


def parse_node_ports(values: Sequence[object], option: str = "node_ports") -> Ports | None:
    """Return the ports between the nodes, None for all of them; raise UserError if an element is not a port."""
    if list(values) == ["all"]:
        return None
    if "all" in values:
        raise UserError(f"{option} contains both all and ports: {list(values)}; expected [all] or a list of ports")
    return parse_ports(values, option)


def parse_networks(values: Iterable[object], option: str) -> tuple[Network, ...]:
    """Return addresses and networks, ordered within each family, none inside another.

    Raises UserError if an element is neither an address nor a network, or it covers every host.
    """
    found: list[Network] = []
    for value in values:
        try:
            network = ipaddress.ip_network(_plain(value))
        except ValueError as error:
            raise UserError(
                f"{option} contains {value!r}; expected IP addresses and networks such as 192.168.1.5, "
                f"192.168.1.0/24 or fd00:1::/64{_hint(value)}"
            ) from error
        if network.prefixlen == 0:
            raise UserError(
                f"{option} contains {network}, which covers every host; list specific networks, or set state to absent "
                "to run without a firewall"
            )
        found.append(network)
    four = [one for one in found if isinstance(one, ipaddress.IPv4Network)]
    six = [one for one in found if isinstance(one, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))


def check_containers(patterns: Collection[str], interface: str) -> tuple[str, ...]:
    """Return the patterns in order, each once; raise UserError if one is invalid or matches the node's interface."""
    for pattern in patterns:
        if not _INTERFACE.fullmatch(pattern) or "*" in pattern[:-1]:
            raise UserError(
                f"container_interfaces contains {pattern!r}; expected interface names such as docker0, with a * at the "
                "end at most (br-*)"
            )
    check_own_interface(patterns, interface)
    return tuple(sorted(set(patterns)))


def check_own_interface(patterns: Iterable[str], interface: str) -> None:
    """Raise UserError if one of the patterns matches the node's own interface."""
    for pattern in patterns:
        if interface and fnmatchcase(interface, pattern):
            raise UserError(
                f"container_interfaces contains {pattern}, which matches the node's own interface {interface}: every "
                "host could reach everything; use a narrower pattern"
            )


def _plain(value: object) -> str:
    # The ipaddress module reads a number as an address; in a list of networks it is a mistake.
    return str(value).strip() if isinstance(value, str) else ""


def _hint(value: object) -> str:
    """Return the likely network, as the end of a sentence, if only the bits after the prefix are wrong."""
    try:
        return f" (did you mean {ipaddress.ip_network(_plain(value), strict=False)}?)"
    except ValueError:
        return ""


def _merged(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)
