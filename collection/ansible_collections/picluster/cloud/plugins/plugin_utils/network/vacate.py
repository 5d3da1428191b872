# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Which nodes must leave their addresses first, because other nodes get these, and where they go. Pure.

A chain of nodes moves from its free end. The nodes of a ring, or of a longer chain, are parked on free addresses of
their present network: then all desired addresses are free at once, and no node waits for another.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import parse_parking
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping


@dataclass(frozen=True)
class Net:
    """The network of an address in the inventory; nodes are parked on the range `parking`, or on any free address."""

    prefix: int
    gateway: str
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    parking: str = ""


@dataclass(frozen=True)
class Move:
    """A node's next address with its network; the node is parked there if that is not yet its node_address."""

    address: str
    net: Net
    parked: bool


def first_moves(
    desired: Mapping[str, str],
    found: Mapping[str, str],
    avoid: Collection[str],
    net_of: Callable[[str], Net],
) -> dict[str, Move]:
    """Return the nodes that hold an address of another node, and where they go first; usually none.

    Args:
        desired: Each node's node_address.
        found: Where each node is; one that is missing is taken to be at its node_address.
        avoid: Further addresses that no node may be parked on: where nodes were seen, or may still be.
        net_of: Returns the network of a node's node_address; called only for the nodes concerned.

    Raises:
        UserError: there is no address to park a node on.
    """
    at = {name: found.get(name, address) for name, address in desired.items()}
    owners = {address: name for name, address in desired.items()}
    held = {address: name for name, address in at.items()}
    leaving = [name for name in desired if at[name] != desired[name] and owners.get(at[name], name) != name]
    moves: dict[str, Move] = {}
    taken = {*desired.values(), *at.values(), *avoid}
    for name in leaving:
        if held.get(desired[name], name) == name:
            moves[name] = Move(desired[name], net_of(name), parked=False)
            continue
        # The inventory describes the network that a node is in at the node that gets its address.
        net = net_of(owners[at[name]])
        whole = ipaddress.IPv4Interface(f"{at[name]}/{net.prefix}").network
        reserved = {*taken, net.gateway, *net.dns}
        place = next((one for one in _parking(whole, net) if one not in reserved), None)
        if place is None:
            where = f"network_parking ({net.parking})" if net.parking else str(whole)
            raise UserError(
                f"{name} cannot be parked: it must leave {at[name]} before {held[desired[name]]} leaves "
                f"{desired[name]}, and no address of {where} is free; set network_parking to a range of free addresses "
                f"in {whole}, or move fewer nodes at once"
            )
        taken.add(place)
        moves[name] = Move(place, net, parked=True)
    return moves


def _parking(whole: ipaddress.IPv4Network, net: Net) -> Iterator[str]:
    """Yield where a node may be parked, from the top of its network down: DHCP servers and users begin below."""
    lowest, highest = whole.network_address + 1, whole.broadcast_address - 1
    if net.parking:
        first, last = parse_parking(net.parking)
        lowest, highest = max(lowest, first), min(highest, last)
    return (str(ipaddress.IPv4Address(number)) for number in range(int(highest), int(lowest) - 1, -1))
