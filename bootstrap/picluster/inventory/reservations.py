"""DHCP reservations that go with the hints on the cards, for dnsmasq's --dhcp-hostsfile."""

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
    """Return a node's reservation.

    An entry by client-id keeps its address when the board is swapped while the old lease lives, one by host name does
    not (tried with dnsmasq 2.90). dnsmasq uses a host name only where the entry has no client-id, so where a system's
    DHCP client cannot send one of our choice (client_id false) the name stands alone.

    The MAC that picluster discover records is left out on purpose. It would keep a stranger from claiming the name, but
    it would also bind the address to the board: an entry by name that has a MAC is no longer matched by name, so a
    swapped board would get an address of the pool. Who a node is, its host key says.
    """
    return f"id:{name},{name},{address}" if client_id else f"{name},{address}"


def merge(text: str, nodes: Mapping[str, IPv4Address], client_ids: Mapping[str, bool]) -> str:
    """Put the nodes' reservations into a reservations file; lines for other hosts and comments stay.

    Args:
        text: What the file holds now, empty if there is none.
        nodes: All nodes' addresses.
        client_ids: Whether a node's card sends its client-id; a node that is not in it keeps its kind of entry.
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
            # A line with the same identity and address may carry the user's lease time or tag: leave it alone.
            kept = set(new.split(",")) <= set(fields) and by_id == any(field.startswith("id:") for field in fields)
            merged.append(old if kept else new)
    merged += [line(name, address, client_id=client_ids.get(name, True)) for name, address in left.items()]
    return "\n".join(merged) + "\n"


def remove(text: str, names: Collection[str]) -> str:
    """Return a reservations file without the lines of these nodes; all others and comments stay to the byte."""
    return "".join(line for line in text.splitlines(keepends=True) if not set(names).intersection(_fields(line)))


def _fields(line: str) -> list[str]:
    return [] if line.lstrip().startswith("#") else line.strip().split(",")
