"""DHCP reservations that match the hints on the cards, for --dhcp-hostsfile of dnsmasq."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from ipaddress import IPv4Address

_HEADER = (
    "# Reservations for dnsmasq: --dhcp-hostsfile=<this file>. SIGHUP makes dnsmasq read it again.",
    "# id: is the client-id that each card sends, so an address outlives its board.",
)


def line(name: str, address: IPv4Address, *, client_id: bool) -> str:
    """Return the reservation of a node.

    An entry with a client-id keeps its address when the board is swapped during the old lease, one with a host name
    does not (tested with dnsmasq 2.90). dnsmasq uses a host name only in entries without a client-id, so the name
    stands alone where the DHCP client of a system cannot send a chosen client-id (client_id false).

    The MAC address that picluster discover records is left out on purpose. It would prevent an untrusted host from
    claiming the name, but also bind the address to the board: dnsmasq no longer matches an entry with a MAC address by
    name, so a swapped board would get an address of the pool. The host key proves the identity of a node.
    """
    return f"id:{name},{name},{address}" if client_id else f"{name},{address}"


def merge(text: str, nodes: Mapping[str, IPv4Address], client_ids: Mapping[str, bool]) -> str:
    """Return a reservations file with the reservations of the nodes; lines for other hosts and comments stay.

    ``client_ids`` says whether the card of a node sends a client-id; a node without a value keeps its kind of entry.
    """
    lines = text.splitlines() or list(_HEADER)
    left = dict(nodes)
    merged = []
    for old in lines:
        fields = _fields(old)
        name = next((field for field in fields if field in nodes), None)
        if name is None:
            merged.append(old)
        elif name in left:
            address = left.pop(name)
            by_id = client_ids.get(name, any(field.startswith("id:") for field in fields))
            new = line(name, address, client_id=by_id)
            # A line with the same identity and address may have a lease time or tag of the user: leave it unchanged.
            kept = set(new.split(",")) <= set(fields) and by_id == any(field.startswith("id:") for field in fields)
            merged.append(old if kept else new)
    merged += [line(name, address, client_id=client_ids.get(name, True)) for name, address in left.items()]
    return "\n".join(merged) + "\n"


def remove(text: str, names: Collection[str]) -> str:
    """Return a reservations file without the lines of these nodes; all others and comments stay to the byte."""
    return "".join(line for line in text.splitlines(keepends=True) if not set(names).intersection(_fields(line)))


def _fields(line: str) -> list[str]:
    return [] if line.lstrip().startswith("#") else line.strip().split(",")
