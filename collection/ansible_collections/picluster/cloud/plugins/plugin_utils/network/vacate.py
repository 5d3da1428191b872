# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Which nodes must leave their addresses first, because other nodes are to get these, and where they go. Pure.

A chain of nodes moves from its free end; of a ring, or where the chain is longer, nodes are parked on free addresses of
the net that they are in: then all wanted addresses are free at once, and no node waits for another.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

IPv4 = ipaddress.IPv4Address


class ParkingError(ValueError):
    """There is no free address to park a node on; the message is one sentence."""


@dataclass(frozen=True)
class Net:
    """What belongs to an address in the inventory.

    Attributes:
        prefix: bits of the net.
        gateway: the router.
        dns: name servers.
        search: search domains.
        parking: node addresses that may be used for parking, from the first to the last; empty for all free ones.
    """

    prefix: int
    gateway: str
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    parking: str = ""


@dataclass(frozen=True)
class Move:
    """Where a node goes first.

    Attributes:
        address: its next address.
        net: what belongs to it.
        parked: whether this is not yet its node_address.
    """

    address: str
    net: Net
    parked: bool


def parse_parking(text: str) -> tuple[IPv4, IPv4]:
    """Return the first and the last address of a range such as 192.168.63.240-192.168.63.250.

    Raises:
        ValueError: it is none; one sentence.
    """
    first, dash, last = text.partition("-")
    try:
        pair = IPv4(first.strip()), IPv4((last if dash else first).strip())
    except ValueError as error:
        raise ValueError(
            f'parking is "{text}", wanted is a range of free addresses such as 192.168.63.240-192.168.63.250'
        ) from error
    if pair[1] < pair[0]:
        raise ValueError(f'parking is "{text}", wanted is the lower address first')
    return pair


def first_moves(
    wanted: Mapping[str, str],
    found: Mapping[str, str],
    avoid: Collection[str],
    net_of: Callable[[str], Net],
) -> dict[str, Move]:
    """Return the nodes that hold what others are to get, and where they go before all else; mostly none.

    Args:
        wanted: each node's node_address.
        found: where each node is; one that is not in it is taken to be where it should.
        avoid: further addresses that nobody may be parked on: where nodes were seen, or may still be.
        net_of: what belongs to a node's node_address in the inventory; asked only for nodes that this is about.

    Raises:
        ParkingError: a node finds no place.
    """
    at = {name: found.get(name, address) for name, address in wanted.items()}
    owners = {address: name for name, address in wanted.items()}
    held = {address: name for name, address in at.items()}
    leaving = [name for name in wanted if at[name] != wanted[name] and owners.get(at[name], name) != name]
    moves: dict[str, Move] = {}
    taken = {*wanted.values(), *at.values(), *avoid}
    for name in leaving:
        if held.get(wanted[name], name) == name:
            moves[name] = Move(wanted[name], net_of(name), parked=False)
            continue
        # The inventory knows the net that a node is in by the node that is to get its address.
        net = net_of(owners[at[name]])
        place = next((str(one) for one in _parking(at[name], net) if str(one) not in taken | _used(net)), None)
        if place is None:
            raise ParkingError(_no_place(name, wanted[name], held[wanted[name]], at[name], net))
        taken.add(place)
        moves[name] = Move(place, net, parked=True)
    return moves


def _used(net: Net) -> set[str]:
    return {net.gateway, *net.dns}


def _parking(address: str, net: Net) -> Iterator[IPv4]:
    """Yield where a node may be parked, from the top of its net downwards: DHCP servers and people begin below."""
    whole = ipaddress.IPv4Interface(f"{address}/{net.prefix}").network
    lowest, highest = whole.network_address + 1, whole.broadcast_address - 1
    if net.parking:
        first, last = parse_parking(net.parking)
        lowest, highest = max(lowest, first), min(highest, last)
    return (IPv4(number) for number in range(int(highest), int(lowest) - 1, -1))


def _no_place(name: str, target: str, holder: str, address: str, net: Net) -> str:
    whole = ipaddress.IPv4Interface(f"{address}/{net.prefix}").network
    where = f"network_parking ({net.parking})" if net.parking else str(whole)
    return (
        f"{name} must leave {address} before {holder} leaves {target}, but no address of {where} is free to park it on "
        f"meanwhile: set network_parking to a range of free addresses in {whole}, or move fewer nodes at once"
    )
