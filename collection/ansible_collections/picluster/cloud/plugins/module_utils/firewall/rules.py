# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node's firewall as text: one nftables table of its own, and the unit that loads it. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import network_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    # Not for the running program: Bullseye's Python 3.9 cannot join types so.
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

TABLE = "inet picluster"
RULES = "/etc/picluster/firewall.nft"
UNIT = "picluster-firewall.service"
NFT = "/usr/sbin/nft"
SSH_PORT = 22
# Interfaces behind which there are containers: Docker's bridges, and those of k3s (flannel, and whoever replaces it).
CONTAINERS = ("br-*", "cali*", "cni*", "docker*", "flannel*", "veth*")

_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp))?")
LAST_PORT = 65535
# IFNAMSIZ of the kernel, less the closing zero.
_INTERFACE = re.compile(r"[A-Za-z0-9_.:-]{1,14}[A-Za-z0-9_.:*-]")


@dataclass(frozen=True)
class Ports:
    """Ports of the two protocols, as ranges that neither touch nor overlap, in order."""

    tcp: tuple[tuple[int, int], ...] = ()
    udp: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Policy:
    """Who may reach what on a node.

    Attributes:
        nodes: the addresses of the cluster's nodes.
        node_ports: what the nodes may reach of each other, None for everything.
        controller: who may log in by ssh although strangers may not.
        management: networks that may reach everything.
        ssh_port: sshd's port.
        strangers_ssh: whether everybody may knock at sshd.
        public: what everybody may reach, be it the node's own or published by a container.
        containers: patterns of the interfaces behind which there are containers.
    """

    nodes: tuple[Network, ...] = ()
    node_ports: Ports | None = None
    controller: tuple[Network, ...] = ()
    management: tuple[Network, ...] = ()
    ssh_port: int = SSH_PORT
    strangers_ssh: bool = True
    public: Ports = field(default_factory=Ports)
    containers: tuple[str, ...] = CONTAINERS


def parse_ports(values: Iterable[object], option: str) -> Ports:
    """Return the ports that a list such as `[80, 8000-8010, 53/udp]` means; without a protocol it is TCP.

    Raises:
        ValueError: an element that is no port; the message is one sentence.
    """
    found: dict[str, list[tuple[int, int]]] = {"tcp": [], "udp": []}
    for value in values:
        match = None if isinstance(value, bool) else _PORTS.fullmatch(str(value).strip())
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else 0
        if match is None or not 1 <= first <= last <= LAST_PORT:
            raise ValueError(
                f"{option} has {value!r}, wanted are ports such as 80, 8000-8010 or 53/udp, from 1 to {LAST_PORT}"
            )
        found[match[3] or "tcp"].append((first, last))
    return Ports(tcp=_merged(found["tcp"]), udp=_merged(found["udp"]))


def parse_node_ports(values: Sequence[object], option: str = "node_ports") -> Ports | None:
    """Return the ports between the nodes, None if it is all of them.

    Raises:
        ValueError: an element that is no port; the message is one sentence.
    """
    if list(values) == ["all"]:
        return None
    if "all" in values:
        raise ValueError(f"{option} has all and more beside it, wanted is either [all] or a list of ports")
    return parse_ports(values, option)


def parse_networks(values: Iterable[object], option: str) -> tuple[Network, ...]:
    """Return addresses and networks, of each family in order, none within another.

    Raises:
        ValueError: an element that is neither, or is everybody; the message is one sentence.
    """
    found: list[Network] = []
    for value in values:
        try:
            network = ipaddress.ip_network(_plain(value))
        except ValueError as error:
            raise ValueError(
                f"{option} has {value!r}, wanted are IP addresses and networks such as 192.168.1.5, "
                f"192.168.1.0/24 or fd00:1::/64{_hint(value)}"
            ) from error
        if network.prefixlen == 0:
            raise ValueError(
                f"{option} has {network}, which is everybody: name the networks meant, or set firewall_state: absent "
                "for no firewall at all"
            )
        found.append(network)
    four = [one for one in found if isinstance(one, ipaddress.IPv4Network)]
    six = [one for one in found if isinstance(one, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))


def parse_client(address: str) -> Network:
    """Return what the address that sshd says a login came from stands for.

    Raises:
        ValueError: it is no address.
    """
    return network_of(address)


def check_ssh_port(port: int) -> int:
    """Return the port.

    Raises:
        ValueError: it is none.
    """
    if not 1 <= port <= LAST_PORT:
        raise ValueError(f"ssh_port is {port}, wanted is the port of sshd, from 1 to {LAST_PORT}")
    return port


def check_containers(patterns: Iterable[str], interface: str) -> tuple[str, ...]:
    """Return the patterns of container interfaces in order, once each.

    Raises:
        ValueError: one that is no interface's name, or takes the node's own interface for a container's.
    """
    for pattern in patterns:
        if not _INTERFACE.fullmatch(pattern) or "*" in pattern[:-1]:
            raise ValueError(
                f"container_interfaces has {pattern!r}, wanted are names of network interfaces such as docker0, with "
                "a star at their end at most (br-*)"
            )
        if interface and fnmatchcase(interface, pattern):
            raise ValueError(
                f"container_interfaces has {pattern}, which is also {interface}, the node's own interface: the "
                "firewall would be open to everybody there; name the containers' interfaces more closely"
            )
    return tuple(sorted(set(patterns)))


def _plain(value: object) -> str:
    # A number is an address for the ipaddress module, and a slip for everybody else.
    return str(value).strip() if isinstance(value, str) else ""


def _hint(value: object) -> str:
    """Return the likely network if only bits after the prefix are wrong, as text to go on with."""
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


def _set(name: str, kind: str, elements: Iterable[str]) -> list[str]:
    """Return a named set's lines; nftables has no way to write an empty list of elements."""
    inside = ", ".join(elements)
    return [
        f"  set {name} {{",
        f"    type {kind}",
        "    flags interval",
        *([f"    elements = {{ {inside} }}"] if inside else []),
        "  }",
    ]


def _address_sets(name: str, networks: Sequence[Network]) -> list[str]:
    lines = []
    for version in (4, 6):
        # Single addresses without their prefix, as nft itself prints them.
        elements = [
            str(one.network_address if one.prefixlen == one.max_prefixlen else one)
            for one in networks
            if one.version == version
        ]
        lines += _set(f"{name}{version}", f"ipv{version}_addr", elements)
    return lines


def _port_sets(name: str, ports: Ports) -> list[str]:
    return [
        line
        for protocol, ranges in (("tcp", ports.tcp), ("udp", ports.udp))
        for line in _set(
            f"{name}_{protocol}",
            "inet_service",
            (str(first) if first == last else f"{first}-{last}" for first, last in ranges),
        )
    ]


def _from(name: str, verdict: str) -> list[str]:
    return [f"    ip saddr @{name}4 {verdict}", f"    ip6 saddr @{name}6 {verdict}"]


def _interfaces(direction: str, patterns: Iterable[str], verdict: str) -> list[str]:
    """Return a rule for each interface, because nft 0.9.8 and 1.0.2 (Bullseye, Jammy) know no patterns in a set."""
    return [f'    {direction} "{pattern}" {verdict}' for pattern in patterns]


def _to(name: str, before: str = "") -> list[str]:
    """Return rules for what was addressed to a set's ports, before any translation of the address."""
    # nft 1.0.6 refuses `ct original proto-dst` without a protocol before it.
    return [f"    {before}meta l4proto {one} ct original proto-dst @{name}_{one} accept" for one in ("tcp", "udp")]


def _nodes_may(policy: Policy, before: str = "") -> list[str]:
    if policy.node_ports is None:
        return _from("nodes", "accept")
    families = (f"{before}ip saddr @nodes4 ", f"{before}ip6 saddr @nodes6 ")
    return [line for family in families for line in _to("node", family)]


def rules_text(policy: Policy) -> str:
    """Return the file that nft loads: the table anew, in one transaction, and nobody else's rules touched.

    Accepting is final only within a chain's own hook and table, dropping is final for the packet: so Docker's and
    kube-proxy's rules keep their say over what passes here.
    """
    from_containers = _interfaces("iifname", policy.containers, "accept")
    lines = [
        f"#!{NFT} -f",
        "# Written by picluster (role firewall), from the inventory. One table: a flush of the ruleset would take",
        "# Docker's and Kubernetes' rules along.",
        f"table {TABLE}",
        f"delete table {TABLE}",
        f"table {TABLE} {{",
        *_address_sets("nodes", policy.nodes),
        *_address_sets("management", policy.management),
        *_address_sets("controller", policy.controller),
        *_port_sets("public", policy.public),
        *([] if policy.node_ports is None else _port_sets("node", policy.node_ports)),
        "  # What is for the node itself.",
        "  chain input {",
        "    type filter hook input priority filter - 5; policy drop;",
        '    iifname "lo" accept',
        "    ct state { established, related } accept",
        "    ct state invalid drop",
        "    # ICMP, IGMP and ICMPv6 (neighbour discovery, path MTU, ping), by number: /etc/protocols may be missing.",
        "    meta l4proto { 1, 2, 58 } accept",
        "    # Answers of DHCP servers, and names by mDNS.",
        "    udp sport 67 udp dport 68 accept",
        "    ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
        "    ip daddr 224.0.0.251 udp dport 5353 accept",
        "    ip6 daddr ff02::fb udp dport 5353 accept",
        "    # Containers and pods of this node.",
        *from_containers,
        *_from("management", "accept"),
        *_nodes_may(policy),
        *_from("controller", f"tcp dport {policy.ssh_port} accept"),
        *([f"    tcp dport {policy.ssh_port} accept"] if policy.strangers_ssh else []),
        *_to("public"),
        "    counter",
        "  }",
        "  # What is for a container: published ports, NodePorts and ServiceLB come by here, not by the input.",
        "  chain forward {",
        "    type filter hook forward priority filter - 5; policy accept;",
        "    ct state { established, related } accept",
        *from_containers,
        *_from("management", "accept"),
        *_nodes_may(policy, "ct status dnat "),
        *_to("public", "ct status dnat "),
        "    ct status dnat counter drop",
        "    # Who has a route to a container's own address needs no published port.",
        *_interfaces("oifname", policy.containers, "counter drop"),
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def unit_text() -> str:
    """Return the unit that loads the rules before there is a network."""
    return f"""\
# Written by picluster (role firewall).
[Unit]
Description=The node's firewall, a table of its own
ConditionPathExists={RULES}
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
After=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={NFT} -f {RULES}
ExecReload={NFT} -f {RULES}
ExecStop=-{NFT} delete table {TABLE}

[Install]
WantedBy=sysinit.target
"""


def dropin_text() -> str:
    """Return what Debian's nftables.service gets beside it: it flushes all tables when it starts, reloads or stops."""
    again = f'-/bin/sh -c "systemctl --quiet is-active {UNIT} && exec {NFT} -f {RULES}"'
    lines = [f"{when}={again}" for when in ("ExecStartPost", "ExecReload", "ExecStopPost")]
    return "\n".join(["# Written by picluster (role firewall).", "[Service]", *lines]) + "\n"
