# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node's static address: the texts that make it permanent, and what the kernel says about it. Pure."""

from __future__ import annotations

import ipaddress
import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.hostname import is_domain

if TYPE_CHECKING:
    from collections.abc import Sequence

NETPLAN_DROPIN = "/etc/netplan/60-picluster.yaml"
# ip-address(8) prints this where an address has no end.
FOREVER = 4294967295
# /31 and /32 have neither a number of the net nor a broadcast address.
LONGEST_PREFIX = 30
SINGLE = 32
LONGEST_WAIT = 3600
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
        search: domains in which short names are looked up.
    """

    interface: str
    address: ipaddress.IPv4Interface
    gateway: ipaddress.IPv4Address
    dns: tuple[str, ...]
    search: tuple[str, ...] = ()


def make_wanted(  # noqa: PLR0913, PLR0917 - one argument an option
    interface: str, address: str, prefix: int, gateway: str, dns: Sequence[str], search: Sequence[str] = ()
) -> Wanted:
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
    net = own.network
    if net.prefixlen <= LONGEST_PREFIX and own.ip in {net.network_address, net.broadcast_address}:
        raise ValueError(
            f"node_address {address} is the net {net} itself or its broadcast address: correct node_address "
            "or node_prefix"
        )
    try:
        router = ipaddress.IPv4Address(gateway)
    except ValueError as error:
        raise ValueError(f"node_gateway is {gateway}, wanted is the router's IPv4 address") from error
    if router not in net or router == own.ip:
        raise ValueError(
            f"node_gateway {router} is not another address in {net}, the net of node_address "
            f"{address}: correct one of them"
        )
    for server in dns:
        try:
            ipaddress.ip_address(server)
        except ValueError as error:
            raise ValueError(f"node_dns has {server}, wanted are IP addresses of name servers") from error
    for domain in search:
        if not is_domain(domain):
            raise ValueError(f"node_search has {domain!r}, wanted are domains such as home.arpa")
    return Wanted(interface, own, router, tuple(dns), tuple(search))


def check_patience(seconds: int) -> int:
    """Return `seconds`; raise ValueError if it is no sensible time to wait for an address."""
    if not 0 <= seconds <= LONGEST_WAIT:
        raise ValueError(
            f"wait_for_address is {seconds}, wanted are 0 to {LONGEST_WAIT} seconds in which another machine may leave "
            "the address"
        )
    return seconds


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
    servers = {"addresses": wanted.dns, "search": wanted.search}
    names = ", ".join(f"{key}: {json.dumps(list(values))}" for key, values in servers.items() if values)
    if names:
        lines.append(f"      nameservers: {{{names}}}")
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
        *([f"dns-search={';'.join(wanted.search)};"] if wanted.search else []),
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


def wrong_interface(wanted: Wanted, live: list[Live], interfaces: list[str]) -> str | None:
    """Return one sentence if the address cannot be on this interface, else None."""
    name, address = wanted.interface, str(wanted.address.ip)
    if name not in interfaces:
        return (
            f"this node has no network interface {name}, it has {', '.join(i for i in interfaces if i != 'lo')}: "
            "set node_interface to the right one"
        )
    holders = [one.interface for one in live if one.address == address]
    if holders and name not in holders:
        return f"{address} (node_address) is on {holders[0]}, not on {name}: set node_interface: {holders[0]}"
    return None


def former_address(wanted: Wanted, live: list[Live], server: str) -> Live | None:
    """Return the address that the node is about to leave, None if it has the wanted one only.

    Args:
        wanted: the wanted address.
        live: what the kernel has.
        server: the address that the controller came to, empty if that is not known.
    """
    own = str(wanted.address.ip)
    # A /32 is somebody's virtual address, which comes and goes by itself.
    others = [one for one in live if one.interface == wanted.interface and one.address != own and one.prefix != SINGLE]
    by_server = [one for one in others if one.address == server]
    if by_server:
        return by_server[0]
    has_wanted = any(one.address == own for one in live)
    return None if has_wanted or not others else others[0]


# A table and a rule of their own, by which answers from the former address take the former way.
FORMER_WAY = "4411"
_WAY_GONE = (f"ip rule delete priority {FORMER_WAY}", f"ip route flush table {FORMER_WAY}")
BACK_WITHIN = 20  # seconds; dhcpcd probes an address for five before it has it


def keep_former(former: Live, gateways: set[str]) -> list[list[str]]:
    """Return the commands that leave the former address usable beside the wanted one, in the kernel alone.

    As a /32 and with routes of its own: had it its net, answers from the wanted address would take that way too, and a
    login at the wanted address would prove less than it must.
    """
    net = ipaddress.IPv4Interface(f"{former.address}/{former.prefix}").network
    on = ["dev", former.interface, "table", FORMER_WAY]
    routers = sorted(router for router in gateways if ipaddress.IPv4Address(router) in net)
    return [
        ["ip", "address", "replace", f"{former.address}/{SINGLE}", "dev", former.interface],
        ["ip", "route", "replace", str(net), "src", former.address, *on],
        *(["ip", "route", "replace", "default", "via", router, *on, "onlink"] for router in routers[:1]),
        ["ip", "rule", "add", "from", former.address, "priority", FORMER_WAY, "lookup", FORMER_WAY],
    ]


def keep_plainly(former: Live) -> list[str]:
    """Return the command that does so on a kernel without policy routing, as well as that can be."""
    return ["ip", "address", "replace", f"{former.address}/{former.prefix}", "dev", former.interface]


def forget_former(former: Live) -> list[str]:
    """Return the command that takes away whatever of these is there."""
    bits = (SINGLE, former.prefix)
    parts = (*_WAY_GONE, *(f"ip address delete {former.address}/{size} dev {former.interface}" for size in bits))
    return ["sh", "-c", "; ".join(f"{part} 2>/dev/null" for part in parts) + "; true"]


def return_to_former(former: Live) -> list[str]:
    """Return the command that ends the makeshift once the manager has given the former address back.

    If it never does, the makeshift is all by which the node can be reached until a reboot.
    """
    there = f"ip -4 address show dev {former.interface} | grep -qF ' {former.address}/{former.prefix} '"
    parts = (*_WAY_GONE, f"ip address delete {former.address}/{SINGLE} dev {former.interface}")
    gone = "; ".join(f"{part} 2>/dev/null" for part in parts)
    wait = f"tries=0; until {there}; do [ $tries = {BACK_WITHIN} ] && exit 0; tries=$((tries + 1)); sleep 1; done"
    return ["sh", "-c", f"{wait}; {gone}; true"]
