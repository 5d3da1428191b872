"""Ranges of names and addresses, and the checks that make a list of them a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING

import hostlist
import yaml

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# RFC 1123 section 2.1: letters, digits and inner hyphens; RFC 1035 section 2.3.4: 63 octets a label.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_LABEL_MAX = 63
# U+2010..U+2015 and the minus sign: what word processors and web pages make of "-" and "--".
_LONG_DASH = re.compile("[\u2010-\u2015\u2212]")
# Names that Ansible itself takes: as a host each of them changes what a play means.
_TAKEN = frozenset({"all", "ungrouped", "localhost", "nodes"})
# Larger than any site in view; a slip such as red[1-50000] must not become 50000 cards.
MAX_NODES = 4096
# A net with fewer host bits than two has no room for a gateway and a node.
MAX_PREFIX = 30


def refuse_long_dashes(arguments: Iterable[str]) -> None:
    """Refuse arguments whose hyphens a word processor replaced by long dashes.

    Raises:
        PiclusterError: naming the argument and what to type instead.
    """
    for argument in arguments:
        if not _LONG_DASH.search(argument):
            continue
        if _LONG_DASH.match(argument):
            option = "--" + argument.lstrip("-\u2010\u2011\u2012\u2013\u2014\u2015\u2212")
            raise PiclusterError(
                f"{argument!r} begins with a long dash, which word processors make of two hyphens: type {option}"
            )
        if "[" in argument:
            typed = _LONG_DASH.sub("-", argument)
            raise PiclusterError(
                f"{argument!r} has a long dash where a range needs a hyphen, as word processors write it: type {typed}"
            )


def expand(expression: str, what: str) -> list[str]:
    """Expand ``red[5-7]``, ``red[001-200]``, ``red[1-3,7]`` or several of them with commas, in the order given.

    Args:
        expression: What the user typed.
        what: The option's name, for the error sentence.

    Raises:
        PiclusterError: for a bad range, nothing at all, a duplicate, or more than MAX_NODES values.
    """
    _refuse_mixed_padding(expression, what)
    try:
        # The library drops duplicates unless told otherwise; then names and addresses would no longer pair up.
        values = [value.strip() for value in hostlist.expand_hostlist(expression, allow_duplicates=True)]
    except hostlist.BadHostlist as error:
        raise PiclusterError(
            f"{what} {expression!r} is not a range ({error}): write it like red[5-7], red[001-200] or red[1-3,7]"
        ) from error
    values = [value for value in values if value]
    if not values:
        raise PiclusterError(f"{what} {expression!r} names nothing: write it like red[5-7]")
    if len(values) > MAX_NODES:
        raise PiclusterError(f"{what} {expression!r} are {len(values)} values: at most {MAX_NODES} nodes are possible")
    duplicate = _first_duplicate(values)
    if duplicate is not None:
        raise PiclusterError(f"{what} {expression!r} names {duplicate} twice: each node needs its own")
    return values


def _refuse_mixed_padding(expression: str, what: str) -> None:
    """Refuse red[1-010]: one end says names without zeros, the other names with them (ClusterShell refuses it, too)."""
    for inside in re.findall(r"\[([^\[\]]*)\]", expression):
        for part in inside.split(","):
            ends = re.fullmatch(r"\s*(\d+)-(\d+)\s*", part)
            if not ends or len(ends[1]) == len(ends[2]):
                continue
            if any(len(end) > 1 and end.startswith("0") for end in ends.groups()):
                width = max(map(len, ends.groups()))
                raise PiclusterError(
                    f"{what} {expression!r} has ends of different length in [{part}]: "
                    f"write [{ends[1].zfill(width)}-{ends[2].zfill(width)}], or none of them with a zero before it"
                )


def _first_duplicate(values: Iterable[object]) -> object | None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def expand_names(expression: str) -> list[str]:
    """Expand and check host names (one RFC 1123 label each, small letters).

    Raises:
        PiclusterError: naming the first name that is wrong and why.
    """
    names = expand(expression, "--name")
    for name in names:
        _check_name(name)
    return names


def _check_name(name: str) -> None:
    if len(name) > _LABEL_MAX:
        raise PiclusterError(f"{name!r} has {len(name)} characters: a host name has at most {_LABEL_MAX} (RFC 1123)")
    if "." in name:
        raise PiclusterError(f"{name!r} has a dot: a node's name is one label without a domain, like red5")
    if name != name.lower():
        raise PiclusterError(f"{name!r} has capital letters: names are compared in small letters, write {name.lower()}")
    if not _LABEL.fullmatch(name):
        raise PiclusterError(
            f"{name!r} is not a host name: letters, digits and hyphens, with a letter or digit at both ends (RFC 1123)"
        )
    if name.isdigit():
        raise PiclusterError(f"{name!r} is only a number, which programs take for an address: put a letter before it")
    if yaml.safe_load(name) != name:
        raise PiclusterError(f"{name!r} is a word that YAML takes for {yaml.safe_load(name)!r}: choose another name")
    if name in _TAKEN:
        raise PiclusterError(f"{name!r} has a meaning of its own in an Ansible inventory: choose another name")


def check_cluster_name(cluster: str, what: str = "--cluster") -> str:
    """Return the name if it can be a directory and part of a host name; ``what`` is the option's name.

    Raises:
        PiclusterError: if it cannot.
    """
    if len(cluster) > _LABEL_MAX or not _LABEL.fullmatch(cluster):
        raise PiclusterError(f"{what} {cluster!r} is not a cluster name: small letters, digits and hyphens, like red")
    return cluster


def _common_beginning(names: Sequence[str]) -> str:
    low, high = min(names), max(names)
    return next((low[:at] for at, letter in enumerate(low) if high[at : at + 1] != letter), low)


def cluster_of(names: Sequence[str]) -> str:
    """Return the names' common beginning without digits and hyphens at its end: red1, red2 are the cluster red.

    Raises:
        PiclusterError: if the names have nothing in common.
    """
    stems = {name.rstrip("0123456789").rstrip("-") for name in names}
    stem = stems.pop() if len(stems) == 1 else _common_beginning(names).rstrip("-0123456789")
    if not stem:
        raise PiclusterError(
            f"{names[0]} and {names[-1]} begin with nothing in common: name the cluster with --cluster"
        )
    return check_cluster_name(stem)


@dataclass(frozen=True)
class Net:
    """The net a cluster lives in.

    Attributes:
        network: Address and prefix.
        gateway: The router's address in it.
        dns: Name servers, at least one.
    """

    network: IPv4Network
    gateway: IPv4Address
    dns: tuple[IPv4Address, ...]


def parse_address(text: str, what: str) -> IPv4Address:
    """Read one IPv4 address of a host.

    Raises:
        PiclusterError: if it is none, or one that no node can have.
    """
    try:
        address = IPv4Address(text)
    except AddressValueError as error:
        raise PiclusterError(f"{what} {text!r} is not an IPv4 address: {error}") from error
    if address.is_multicast or address.is_loopback or address.is_unspecified or address.is_reserved:
        raise PiclusterError(f"{what} {text} cannot be a host's address: it is loopback, multicast or reserved")
    return address


def expand_addresses(expression: str) -> list[IPv4Address]:
    """Expand and read addresses, in the order given.

    Raises:
        PiclusterError: for a bad range, a duplicate, or something that is no host's address.
    """
    return [parse_address(text, "--ips") for text in expand(expression, "--ips")]


def make_net(
    addresses: Sequence[IPv4Address],
    *,
    prefix: int,
    gateway: str | None,
    dns: Sequence[str],
    found: Mapping[str, str] | None = None,
) -> Net:
    """Put together the net of these addresses.

    Args:
        addresses: At least one node's address; the first decides the network.
        prefix: Bits of the network, 8 to 30.
        gateway: Its address, or None for the first address of the network.
        dns: Name servers; none means the gateway.
        found: Where a value comes from, by option, if it was not given by that option; for the error sentence.

    Raises:
        PiclusterError: naming the value that does not fit.
    """
    said = {option: (found or {}).get(option) or option for option in ("--prefix", "--gateway", "--dns")}
    if not 8 <= prefix <= MAX_PREFIX:  # noqa: PLR2004 - below /8 there is no such network
        raise PiclusterError(f"{said['--prefix']} {prefix} is not a network of nodes: 8 to {MAX_PREFIX}, mostly 24")
    network = IPv4Interface((int(addresses[0]), prefix)).network
    router = parse_address(gateway, said["--gateway"]) if gateway else network.network_address + 1
    if router not in network:
        raise PiclusterError(
            f"{said['--gateway']} {router} is not in {network}, the network of {addresses[0]}: "
            "give --gateway, or --cluster with another name for a cluster of its own"
        )
    if router in (network.network_address, network.broadcast_address):
        raise PiclusterError(f"{said['--gateway']} {router} is the network or broadcast address of {network}")
    servers = tuple(parse_address(server, said["--dns"]) for server in dns) or (router,)
    return Net(network, router, servers)


def check_nodes(nodes: Iterable[tuple[str, IPv4Address]], net: Net) -> None:
    """Check that every node has an address of its own that a host of this net can have.

    Raises:
        PiclusterError: naming the first node and address that cannot be.
    """
    owner: dict[IPv4Address, str] = {}
    for name, address in nodes:
        if address not in net.network:
            raise PiclusterError(
                f"{name}'s address {address} is not in {net.network}: "
                "all nodes of a cluster share one network (--prefix sets its size)"
            )
        if address == net.network.network_address:
            raise PiclusterError(f"{name}'s address {address} is the address of the network {net.network} itself")
        if address == net.network.broadcast_address:
            raise PiclusterError(f"{name}'s address {address} is the broadcast address of {net.network}")
        if address == net.gateway:
            raise PiclusterError(
                f"{name}'s address {address} is the gateway's: give another, or name it with --gateway"
            )
        if address in owner:
            raise PiclusterError(
                f"{name} and {owner[address]} both have the address {address}: each node needs its own"
            )
        owner[address] = name


def pair(names: Sequence[str], addresses: Sequence[IPv4Address]) -> dict[str, IPv4Address]:
    """Give the names their addresses in order.

    Raises:
        PiclusterError: if there is not one for each.
    """
    if len(names) != len(addresses):
        raise PiclusterError(
            f"--name has {len(names)} ({names[0]} to {names[-1]}) but --ips has {len(addresses)} "
            f"({addresses[0]} to {addresses[-1]}): they are paired in order, so give as many of each"
        )
    return dict(zip(names, addresses, strict=True))
