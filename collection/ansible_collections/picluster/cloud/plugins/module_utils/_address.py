# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node's static address: the texts that make it permanent, and what the kernel says about it. Pure."""

from __future__ import annotations

import ipaddress
import json
import uuid
from dataclasses import dataclass
from typing import Any

NETPLAN_DROPIN = "/etc/netplan/60-picluster.yaml"
# ip-address(8) prints this where an address has no end.
FOREVER = 4294967295
_NAMESPACE = uuid.UUID("6f0a8a3e-3c52-5c0b-9d8e-2f6f3a0c7b11")

# Interfaces of Docker and of the cluster's pods: NetworkManager would give them addresses and routes of its own
# (rancher/elemental#460). A section of its own leaves anybody else's unmanaged-devices alone.
NM_UNMANAGED = """\
# Written by picluster: containers' interfaces belong to their engines.
[device-picluster-containers]
match-device=interface-name:cali*,interface-name:flannel*,interface-name:cni*,interface-name:veth*,interface-name:docker*,interface-name:br-*
managed=0
"""

# cloud-init has done its part at the first boot; at a next instance it would write its own idea again.
CLOUD_NETWORK_OFF = """\
# Written by picluster: the inventory decides on the address.
network: {config: disabled}
"""


@dataclass(frozen=True)
class Wanted:
    """The address that a node must have.

    Attributes:
        interface: name of the network interface.
        address: the node's IPv4 address with the bits of its net.
        gateway: the router.
        dns: name servers.
    """

    interface: str
    address: ipaddress.IPv4Interface
    gateway: ipaddress.IPv4Address
    dns: tuple[str, ...]


def make_wanted(interface: str, address: str, prefix: int, gateway: str, dns: list[str]) -> Wanted:
    """Return the wanted address from a module's options.

    Raises:
        ValueError: an option that makes no sense; the message is one sentence.
    """
    try:
        own = ipaddress.IPv4Interface(f"{address}/{prefix}")
    except ValueError as error:
        raise ValueError(
            f"node_address {address} with node_prefix {prefix} is no IPv4 address in a net, wanted is for "
            "example 192.168.1.11 and 24"
        ) from error
    try:
        router = ipaddress.IPv4Address(gateway)
    except ValueError as error:
        raise ValueError(f"node_gateway is {gateway}, wanted is the router's IPv4 address") from error
    if router not in own.network or router == own.ip:
        raise ValueError(
            f"node_gateway {router} is not another address in {own.network}, the net of node_address "
            f"{address}: correct one of them"
        )
    for server in dns:
        try:
            ipaddress.ip_address(server)
        except ValueError as error:
            raise ValueError(f"node_dns has {server}, wanted are IP addresses of name servers") from error
    return Wanted(interface, own, router, tuple(dns))


def netplan_text(wanted: Wanted, renderer: str) -> str:
    """Return the netplan drop-in; netplan merges it over 50-cloud-init.yaml by the interface's name.

    Args:
        wanted: the wanted address.
        renderer: NetworkManager or networkd, whoever has the interface now. On the interface, because settings that are
            NetworkManager's own (a DHCP client-id) fail with another renderer.
    """
    lines = [
        "# Written by picluster (role network), from the inventory.",
        "network:",
        "  version: 2",
        "  ethernets:",
        f"    {wanted.interface}:",
        f"      renderer: {renderer}",
        "      dhcp4: false",
        f"      addresses: [{wanted.address.with_prefixlen}]",
        f"      routes: [{{to: default, via: {wanted.gateway}}}]",
    ]
    if wanted.dns:
        lines.append(f"      nameservers: {{addresses: [{', '.join(json.dumps(server) for server in wanted.dns)}]}}")
    if renderer == "NetworkManager":
        # Wins at boot over a profile that somebody made with nmcli.
        lines.append('      networkmanager: {passthrough: {connection.autoconnect-priority: "100"}}')
    return "\n".join(lines) + "\n"


def keyfile_path(interface: str) -> str:
    """Return the path of NetworkManager's profile where there is no netplan."""
    return f"/etc/NetworkManager/system-connections/{profile_name(interface)}.nmconnection"


def profile_name(interface: str) -> str:
    """Return the profile's name where there is no netplan."""
    return f"picluster-{interface}"


def keyfile_text(wanted: Wanted) -> str:
    """Return NetworkManager's profile, which its priority makes win over the automatic one."""
    name = profile_name(wanted.interface)
    dns4 = [server for server in wanted.dns if ":" not in server]
    dns6 = [server for server in wanted.dns if ":" in server]
    lines = [
        "# Written by picluster (role network), from the inventory.",
        "[connection]",
        f"id={name}",
        f"uuid={uuid.uuid5(_NAMESPACE, name)}",
        "type=ethernet",
        f"interface-name={wanted.interface}",
        "autoconnect-priority=100",
        "",
        "[ipv4]",
        "method=manual",
        f"address1={wanted.address.with_prefixlen},{wanted.gateway}",
        *([f"dns={';'.join(dns4)};"] if dns4 else []),
        "",
        "[ipv6]",
        "method=auto",
        *([f"dns={';'.join(dns6)};"] if dns6 else []),
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Live:
    """An IPv4 address that an interface has at the moment."""

    interface: str
    address: str
    prefix: int
    static: bool


def parse_addresses(output: str) -> list[Live]:
    """Return the addresses out of what `ip -j -4 address show` prints."""
    links: list[dict[str, Any]] = json.loads(output or "[]")
    return [
        Live(
            interface=str(link["ifname"]),
            address=str(info["local"]),
            prefix=int(info["prefixlen"]),
            static=not info.get("dynamic") and info.get("valid_life_time", FOREVER) == FOREVER,
        )
        for link in links
        for info in link.get("addr_info", [])
        if "local" in info
    ]


def parse_gateways(output: str, interface: str) -> set[str]:
    """Return an interface's routers out of what `ip -j -4 route show default` prints."""
    routes: list[dict[str, Any]] = json.loads(output or "[]")
    return {str(route["gateway"]) for route in routes if "gateway" in route and route.get("dev") == interface}


def is_there(wanted: Wanted, live: list[Live], gateways: set[str]) -> bool:
    """Whether the kernel has the wanted address, for good, and the wanted router."""
    mine = Live(wanted.interface, str(wanted.address.ip), wanted.address.network.prefixlen, static=True)
    return mine in live and str(wanted.gateway) in gateways


def describe(wanted: Wanted, live: list[Live], gateways: set[str]) -> str:
    """Return one line about what an interface has at the moment."""
    own = [
        f"{one.address}/{one.prefix} {'static' if one.static else 'dynamic'}"
        for one in live
        if one.interface == wanted.interface
    ]
    return f"{', '.join(own) or 'no address'} via {', '.join(sorted(gateways)) or 'no router'}"


def elsewhere(wanted: Wanted, live: list[Live], interfaces: list[str]) -> str | None:
    """Return one sentence if the node would have to move to another address or interface, else None.

    Moving a node under a living connection is not this module's business: it would need a way back.
    """
    name, address = wanted.interface, str(wanted.address.ip)
    if name not in interfaces:
        return (
            f"this node has no network interface {name}, it has {', '.join(i for i in interfaces if i != 'lo')}: "
            "set node_interface to the right one"
        )
    holders = [one.interface for one in live if one.address == address]
    if name in holders:
        return None
    if holders:
        return f"{address} (node_address) is on {holders[0]}, not on {name}: set node_interface: {holders[0]}"
    own = ", ".join(one.address for one in live if one.interface == name) or "no address"
    return (
        f"{name} has {own}, but node_address is {address}: this role makes the reserved address permanent and "
        "does not move a node yet; "
        "let the DHCP server give the node its reserved address (reservations.dnsmasq) and reboot it, or "
        "correct node_address"
    )
