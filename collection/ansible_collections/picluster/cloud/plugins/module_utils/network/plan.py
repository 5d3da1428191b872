# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node's static address: the files that make it permanent, and the kernel's state. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import AddressSettings

NETPLAN_DROPIN = "/etc/netplan/60-picluster.yaml"
DHCPCD_CONF = "/etc/dhcpcd.conf"
# k3s#2599: flannel.1 has incompatible addresses where dhcpcd touched it. Adds to a line that the user has.
_DHCPCD_CONTAINERS = "denyinterfaces veth* docker* br-* cni* flannel* cali*"
_BEGIN, _END = "# BEGIN picluster (role network)", "# END picluster (role network)"
_BLOCK = re.compile(rf"^{re.escape(_BEGIN)}\n.*?^{re.escape(_END)}\n", re.MULTILINE | re.DOTALL)
# ip-address(8) prints this where an address has no end.
FOREVER = 4294967295
SINGLE = 32  # the prefix of a single address
_NAMESPACE = uuid.UUID("6f0a8a3e-3c52-5c0b-9d8e-2f6f3a0c7b11")

# Interfaces of Docker and of the cluster's pods: NetworkManager would assign addresses and routes of its own
# (rancher/elemental#460). A section of its own leaves other files' unmanaged-devices alone.
NM_UNMANAGED = """\
# Written by picluster: containers' interfaces belong to their engines.
[device-picluster-containers]
match-device=interface-name:cali*,interface-name:flannel*,interface-name:cni*,interface-name:veth*,interface-name:docker*,interface-name:br-*
managed=0
"""

# cloud-init has done its part at the first boot; for a new instance it would write its configuration again.
CLOUD_NETWORK_OFF = """\
# Written by picluster: the inventory decides on the address.
network: {config: disabled}
"""


def netplan_text(settings: AddressSettings, renderer: str) -> str:
    """Return the netplan drop-in; netplan merges it over 50-cloud-init.yaml by the interface's name.

    The renderer is the one that manages the interface now. It stands on the interface, because settings that are
    NetworkManager's own (a DHCP client-id) fail with another renderer.
    """
    lines = [
        "# Written by picluster (role network), from the inventory.",
        "network:",
        "  version: 2",
        "  ethernets:",
        f"    {settings.interface}:",
        f"      renderer: {renderer}",
        "      dhcp4: false",
        f"      addresses: [{settings.address.with_prefixlen}]",
        f"      routes: [{{to: default, via: {settings.gateway}}}]",
    ]
    servers = {"addresses": settings.dns, "search": settings.search}
    names = ", ".join(f"{key}: {json.dumps(list(values))}" for key, values in servers.items() if values)
    if names:
        lines.append(f"      nameservers: {{{names}}}")
    if renderer == "NetworkManager":
        # Wins at boot over a profile that a user made with nmcli.
        lines.append('      networkmanager: {passthrough: {connection.autoconnect-priority: "100"}}')
    return "\n".join(lines) + "\n"


def profile_name(interface: str) -> str:
    """Return the profile's name where there is no netplan."""
    return f"picluster-{interface}"


def keyfile_text(settings: AddressSettings) -> str:
    """Return NetworkManager's profile; its priority makes it win over the automatic one."""
    name = profile_name(settings.interface)
    dns4 = [server for server in settings.dns if ":" not in server]
    dns6 = [server for server in settings.dns if ":" in server]
    lines = [
        "# Written by picluster (role network), from the inventory.",
        "[connection]",
        f"id={name}",
        f"uuid={uuid.uuid5(_NAMESPACE, name)}",
        "type=ethernet",
        f"interface-name={settings.interface}",
        "autoconnect-priority=100",
        "",
        "[ipv4]",
        "method=manual",
        f"address1={settings.address.with_prefixlen},{settings.gateway}",
        *([f"dns={';'.join(dns4)};"] if dns4 else []),
        *([f"dns-search={';'.join(settings.search)};"] if settings.search else []),
        "",
        "[ipv6]",
        "method=auto",
        *([f"dns={';'.join(dns6)};"] if dns6 else []),
    ]
    return "\n".join(lines) + "\n"


def dhcpcd_text(before: str, settings: AddressSettings) -> str:
    """Return dhcpcd's one file with the desired address and the user's lines unchanged.

    Options for all interfaces come first: after any line `interface` they would be that interface's (dhcpcd.conf(5)).
    The address comes last, where it wins over another block for the same interface.
    """
    rest = _BLOCK.sub("", before)
    if rest and not rest.endswith("\n"):
        rest += "\n"
    address = [
        f"interface {settings.interface}",
        f"static ip_address={settings.address.with_prefixlen}",
        f"static routers={settings.gateway}",
        f"static domain_name_servers={' '.join(settings.dns)}",
        f"static domain_search={' '.join(settings.search)}",
    ]
    # dhcpcd rejects an empty value.
    lines = [line for line in address if not line.endswith("=")]
    return f"{_block([_DHCPCD_CONTAINERS])}{rest}{_block(lines)}"


def _block(lines: list[str]) -> str:
    return "\n".join([_BEGIN, *lines, _END]) + "\n"


@dataclass(frozen=True)
class Live:
    """An IPv4 address that an interface has at the moment."""

    interface: str
    address: str
    prefix: int
    static: bool


def parse_addresses(output: str) -> list[Live]:
    """Return the addresses from the output of `ip -j -4 address show`."""
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
    """Return an interface's routers from the output of `ip -j -4 route show default`."""
    routes: list[dict[str, Any]] = json.loads(output or "[]")
    return {str(route["gateway"]) for route in routes if "gateway" in route and route.get("dev") == interface}


def is_there(settings: AddressSettings, live: list[Live], gateways: set[str]) -> bool:
    """Return whether the kernel has the desired address, permanently, and the desired router."""
    mine = Live(settings.interface, str(settings.address.ip), settings.address.network.prefixlen, static=True)
    return mine in live and str(settings.gateway) in gateways


def describe(settings: AddressSettings, live: list[Live], gateways: set[str]) -> str:
    """Return in one line what an interface has at the moment."""
    own = [
        f"{one.address}/{one.prefix} {'static' if one.static else 'dynamic'}"
        for one in live
        if one.interface == settings.interface
    ]
    return f"{', '.join(own) or 'no address'} via {', '.join(sorted(gateways)) or 'no router'}"


def check_interface(settings: AddressSettings, live: list[Live], interfaces: list[str]) -> None:
    """Raise UserError if the interface does not exist, or if another interface has the address."""
    name, address = settings.interface, str(settings.address.ip)
    if name not in interfaces:
        others = ", ".join(interface for interface in interfaces if interface != "lo")
        raise UserError(f"interface is unknown: this node has no {name}, it has {others}; set interface to one of them")
    holders = [one.interface for one in live if one.address == address]
    if holders and name not in holders:
        raise UserError(
            f"interface is wrong: address {address} is on {holders[0]}, not on {name}; set interface to {holders[0]}"
        )


def former_address(settings: AddressSettings, live: list[Live], server: str) -> Live | None:
    """Return the address that the node is about to leave, None if it has only the desired one.

    `server` is the address that the controller connected to, empty if that is not known.
    """
    own = str(settings.address.ip)
    # A /32 is a virtual address, which a program moves from node to node.
    others = [
        one for one in live if one.interface == settings.interface and one.address != own and one.prefix != SINGLE
    ]
    by_server = [one for one in others if one.address == server]
    if by_server:
        return by_server[0]
    has_own = any(one.address == own for one in live)
    return None if has_own or not others else others[0]


# A table and a rule of their own, by which answers from the former address take the former route.
FORMER_WAY = "4411"
_WAY_GONE = (f"ip rule delete priority {FORMER_WAY}", f"ip route flush table {FORMER_WAY}")
BACK_WITHIN = 20  # seconds; dhcpcd probes an address for five before it has it


def keep_former(former: Live, gateways: set[str]) -> list[list[str]]:
    """Return the commands that keep the former address usable beside the desired one, in the kernel alone.

    As a /32 and with routes of its own: with its network, answers from the desired address would take that route too,
    and a login at the desired address would prove less than it must.
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
    """Return the command that does so on a kernel without policy routing, as far as possible."""
    return ["ip", "address", "replace", f"{former.address}/{former.prefix}", "dev", former.interface]


def forget_former(former: Live) -> list[str]:
    """Return the command that removes all of these that exist."""
    bits = (SINGLE, former.prefix)
    parts = (*_WAY_GONE, *(f"ip address delete {former.address}/{size} dev {former.interface}" for size in bits))
    return ["sh", "-c", "; ".join(f"{part} 2>/dev/null" for part in parts) + "; true"]


def return_to_former(former: Live) -> list[str]:
    """Return the command that removes the kept address once the manager has restored the former one.

    If it never does, the kept address is the only way to reach the node until a reboot.
    """
    there = f"ip -4 address show dev {former.interface} | grep -qF ' {former.address}/{former.prefix} '"
    parts = (*_WAY_GONE, f"ip address delete {former.address}/{SINGLE} dev {former.interface}")
    gone = "; ".join(f"{part} 2>/dev/null" for part in parts)
    wait = f"tries=0; until {there}; do [ $tries = {BACK_WITHIN} ] && exit 0; tries=$((tries + 1)); sleep 1; done"
    return ["sh", "-c", f"{wait}; {gone}; true"]
