"""The lab's net: its addresses, and whether it may be used on this host. Pure, so that it can be tested."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netaddr import EUI, mac_unix_expanded

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FIRST_NODE = 11
POOL = (200, 250)
STRANGER = 253
# Linux: IFNAMSIZ is 16 with the closing zero.
INTERFACE_NAME_LENGTH = 15


@dataclass(frozen=True)
class LabNet:
    """A /24 with the gateway at .1, nodes from .11 on and the DHCP pool at .200 to .250."""

    network: ipaddress.IPv4Network

    @classmethod
    def parse(cls, text: str) -> LabNet:
        """Read a net as the user wrote it.

        Raises:
            LabError: not a private IPv4 /24.
        """
        try:
            network = ipaddress.IPv4Network(text)
        except ValueError as error:
            raise LabError(f"--net wants an IPv4 net such as 192.168.63.0/24, not {text!r} ({error}).") from error
        if network.prefixlen != 24 or not network.is_private:  # noqa: PLR2004 - the layout above is that of a /24
            raise LabError(f"--net wants a private net with 24 bits such as 192.168.63.0/24, not {text!r}.")
        return cls(network)

    def __str__(self) -> str:
        return str(self.network)

    @property
    def gateway(self) -> str:
        """The gateway's address."""
        return str(self.network[1])

    @property
    def pool(self) -> tuple[str, str]:
        """First and last address for those who have no reservation."""
        return str(self.network[POOL[0]]), str(self.network[POOL[1]])

    @property
    def stranger(self) -> str:
        """Address of somebody who is neither node nor gateway, beyond the pool."""
        return str(self.network[STRANGER])

    def node(self, number: int) -> str:
        """Address of the n-th node, counted from 1."""
        return str(self.network[FIRST_NODE + number - 1])

    @property
    def room(self) -> int:
        """How many nodes fit below the pool."""
        return POOL[0] - FIRST_NODE

    def in_pool(self, address: str) -> bool:
        """Whether an address is one of the pool's."""
        first, last = (ipaddress.IPv4Address(end) for end in self.pool)
        return first <= ipaddress.IPv4Address(address) <= last


def collision(net: LabNet, addresses: Iterable[Mapping[str, Any]], routes: Iterable[Mapping[str, Any]]) -> str:
    """What of the host's own network the lab's net would hide; empty if nothing.

    Args:
        net: the net wanted.
        addresses: the answer of ``ip -json address``.
        routes: the answer of ``ip -json route show table all``.
    """
    for link in addresses:
        for entry in link.get("addr_info", ()):
            if entry.get("family") != "inet":
                continue
            own = ipaddress.IPv4Interface(f"{entry['local']}/{entry['prefixlen']}").network
            if own.overlaps(net.network):
                return f"this host's address {entry['local']}/{entry['prefixlen']} on {link['ifname']}"
    for route in routes:
        target = str(route.get("dst", ""))
        if target == "default" or ":" in target or route.get("type") in {"local", "broadcast", "multicast"}:
            continue
        try:
            there = ipaddress.IPv4Network(target)
        except ValueError:
            continue
        # A route to exactly this net over a container bridge is what an earlier lab left behind.
        left_behind = there == net.network and "gateway" in route and str(route.get("dev", "")).startswith("docker")
        if there.overlaps(net.network) and not left_behind:
            return f"this host's route to {target} by {route.get('dev', 'an unknown device')}"
    return ""


def outside_mtu(addresses: Iterable[Mapping[str, Any]], routes: Iterable[Mapping[str, Any]]) -> int:
    """The largest packet that passes on the way out: the smaller of Ethernet's 1500 and that of the default route."""
    devices = {str(route["dev"]) for route in routes if route.get("dst") == "default" and "dev" in route}
    return min([1500, *(int(link["mtu"]) for link in addresses if link.get("ifname") in devices)])


def hardware_address(cluster: str, node: str) -> str:
    """A node's MAC address: locally administered, the same for each boot, as that of a board."""
    own = hashlib.sha256(f"{cluster}/{node}".encode()).digest()[:5]
    return str(EUI(int.from_bytes(b"\x02" + own, "big"), dialect=mac_unix_expanded))


def port_name(node: str) -> str:
    """Name of the gateway's end of a node's cable."""
    plain = f"to-{node}"
    if len(plain) <= INTERFACE_NAME_LENGTH:
        return plain
    return "to-" + hashlib.sha256(node.encode()).hexdigest()[:12]
