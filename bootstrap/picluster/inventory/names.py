"""Ranges of names and addresses, the rules for names, and the network of a cluster."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING

import hostlist

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# RFC 1123 section 2.1: letters, digits and inner hyphens; RFC 1035 section 2.3.4: 63 octets a label.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_LABEL_MAX = 63
# U+2010..U+2015 and the minus sign: word processors and web pages put them in place of "-" and "--".
_LONG_DASH = re.compile("[\u2010-\u2015\u2212]")
# What YAML reads as a number, a date, a truth value or nothing; files of several programs have a node's name unquoted.
_NO_TEXT = re.compile(r"\d+|\d+e\d+|0x[0-9a-f]+|0o[0-7]+|0b[01]+|\d{4}-\d\d?-\d\d?|null|true|false|yes|no|on|off")
# Names that are reserved in Ansible: as a host each of them changes the meaning of a play.
_TAKEN = frozenset({"all", "ungrouped", "localhost", "nodes"})
# Larger than any known site; a typo such as red[1-50000] must not become 50000 cards.
MAX_NODES = 4096
# A network with fewer than two host bits has no room for a gateway and a node.
MIN_PREFIX, MAX_PREFIX = 8, 30
# The default NAME_REGEX of adduser in Debian, and the maximum length of useradd.
_USER = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def refuse_long_dashes(arguments: Iterable[str]) -> None:
    """Refuse arguments in which a word processor replaced hyphens with long dashes."""
    for argument in arguments:
        if not _LONG_DASH.search(argument):
            continue
        if _LONG_DASH.match(argument):
            option = "--" + argument.lstrip("-\u2010\u2011\u2012\u2013\u2014\u2015\u2212")
            raise PiclusterError(
                f"{argument!r} begins with a long dash, which word processors put in place of hyphens: type {option}"
            )
        if "[" in argument:
            typed = _LONG_DASH.sub("-", argument)
            raise PiclusterError(f"{argument!r} has a long dash, but a range needs a hyphen: type {typed}")


def expand(expression: str, what: str) -> list[str]:
    """Expand ``red[5-7]``, ``red[001-200]``, ``red[1-3,7]`` or several of them with commas, in the given order.

    Refuses an empty range, a duplicate, and more than MAX_NODES values; ``what`` names the option in errors.
    """
    _refuse_mixed_padding(expression, what)
    try:
        # Without the option the library drops duplicates, and names and addresses no longer pair up.
        values = [value.strip() for value in hostlist.expand_hostlist(expression, allow_duplicates=True)]
    except hostlist.BadHostlist as error:
        raise PiclusterError(
            f"{what} {expression!r} is not a range ({error}): write it like red[5-7], red[001-200] or red[1-3,7]"
        ) from error
    values = [value for value in values if value]
    if not values:
        raise PiclusterError(f"{what} {expression!r} names nothing: write it like red[5-7]")
    if len(values) > MAX_NODES:
        raise PiclusterError(f"{what} {expression!r} is too large: {len(values)} values; expected at most {MAX_NODES}")
    duplicate = next((value for value, count in Counter(values).items() if count > 1), None)
    if duplicate is not None:
        things = "names" if what == "--name" else "addresses"
        raise PiclusterError(f"{what} {expression!r} names {duplicate} twice: {things} must be unique")
    return values


def _refuse_mixed_padding(expression: str, what: str) -> None:
    """Refuse red[1-010]: its ends disagree about leading zeros (ClusterShell refuses it, too)."""
    for inside in re.findall(r"\[([^\[\]]*)\]", expression):
        for part in inside.split(","):
            ends = re.fullmatch(r"\s*(\d+)-(\d+)\s*", part)
            if not ends or len(ends[1]) == len(ends[2]):
                continue
            if any(len(end) > 1 and end.startswith("0") for end in ends.groups()):
                width = max(map(len, ends.groups()))
                raise PiclusterError(
                    f"{what} {expression!r} has ends of different length in [{part}]: "
                    f"write [{ends[1].zfill(width)}-{ends[2].zfill(width)}], or remove the leading zeros"
                )


def expand_names(expression: str) -> list[str]:
    """Expand and check host names (one RFC 1123 label each, lower case)."""
    names = expand(expression, "--name")
    for name in names:
        _check_name(name)
    return names


def _check_name(name: str) -> None:
    if len(name) > _LABEL_MAX:
        raise PiclusterError(f"{name!r} has {len(name)} characters: a host name has at most {_LABEL_MAX} (RFC 1123)")
    if "." in name:
        raise PiclusterError(f"{name!r} has a dot: write the name without a domain, such as red5")
    if name != name.lower():
        raise PiclusterError(f"{name!r} has capital letters: write {name.lower()}")
    if not _LABEL.fullmatch(name):
        raise PiclusterError(f"{name!r} is not a host name: expected letters, digits and inner hyphens (RFC 1123)")
    if _NO_TEXT.fullmatch(name):
        raise PiclusterError(f"{name!r} is a number, a date or a word to YAML: choose another name, such as n{name}")
    if name in _TAKEN:
        raise PiclusterError(f"{name!r} is reserved in an Ansible inventory: choose another name")


def check_cluster_name(cluster: str, what: str = "--cluster") -> str:
    """Return the name of a cluster, which must suit a directory and the beginning of a host name."""
    if len(cluster) > _LABEL_MAX or not _LABEL.fullmatch(cluster):
        raise PiclusterError(
            f"{what} {cluster!r} is not a cluster name: expected lower-case letters, digits and hyphens, such as red"
        )
    return cluster


def check_user(user: str) -> str:
    """Return the name of a user that can log in and use sudo."""
    if not _USER.fullmatch(user) or user == "root":
        raise PiclusterError(
            f"--user {user!r} is not allowed: expected lower-case letters and digits, at most 32, and not root"
        )
    return user


def _common_beginning(names: Sequence[str]) -> str:
    low, high = min(names), max(names)
    return next((low[:at] for at, letter in enumerate(low) if high[at : at + 1] != letter), low)


def cluster_of(names: Sequence[str]) -> str:
    """Return the common beginning of the names without digits and hyphens at its end: red for red1 and red2."""
    stems = {name.rstrip("0123456789").rstrip("-") for name in names}
    stem = stems.pop() if len(stems) == 1 else _common_beginning(names).rstrip("-0123456789")
    if not stem:
        raise PiclusterError(f"{names[0]} and {names[-1]} have no common beginning: name the cluster with --cluster")
    return check_cluster_name(stem)


@dataclass(frozen=True)
class Net:
    """The network of a cluster, the router within it, and at least one name server."""

    network: IPv4Network
    gateway: IPv4Address
    dns: tuple[IPv4Address, ...]


def parse_address(text: str, what: str) -> IPv4Address:
    """Read one IPv4 address of a host."""
    try:
        address = IPv4Address(text)
    except AddressValueError:
        raise PiclusterError(f"{what} {text!r} is not an IPv4 address; expected one such as 192.168.1.5") from None
    kinds = ("loopback", "link_local", "multicast", "reserved", "unspecified")
    if any(getattr(address, f"is_{kind}") for kind in kinds):
        raise PiclusterError(
            f"{what} {text} cannot be the address of a host: it is loopback, link-local, multicast or reserved; "
            "give another"
        )
    return address


def expand_addresses(expression: str) -> list[IPv4Address]:
    """Expand and read addresses, in the given order."""
    return [parse_address(text, "--ips") for text in expand(expression, "--ips")]


def make_net(
    addresses: Sequence[IPv4Address],
    *,
    prefix: int,
    gateway: str | None,
    dns: Sequence[str],
    found: Mapping[str, str] | None = None,
) -> Net:
    """Return the network of these addresses.

    The first address determines the network. The router's default is the first address of the network, that of the name
    servers the router. ``found`` is the source of a value that its option did not give, by option, for errors.
    """
    source = {option: (found or {}).get(option) or option for option in ("--prefix", "--gateway", "--dns")}
    if not MIN_PREFIX <= prefix <= MAX_PREFIX:
        raise PiclusterError(
            f"{source['--prefix']} {prefix} is out of range: expected {MIN_PREFIX} to {MAX_PREFIX}, usually 24"
        )
    network = IPv4Interface((int(addresses[0]), prefix)).network
    router = parse_address(gateway, source["--gateway"]) if gateway else network.network_address + 1
    if router not in network:
        raise PiclusterError(
            f"{source['--gateway']} {router} is not in {network}, the network of {addresses[0]}: "
            "give the right --gateway, or another --cluster if these nodes are a cluster of their own"
        )
    if router in (network.network_address, network.broadcast_address):
        raise PiclusterError(
            f"{source['--gateway']} {router} is the network or broadcast address of {network}: give another"
        )
    servers = tuple(parse_address(server, source["--dns"]) for server in dns) or (router,)
    return Net(network, router, servers)


def check_nodes(nodes: Iterable[tuple[str, IPv4Address]], net: Net) -> None:
    """Check that every node has a unique address that a host of this network can have."""
    taken = {
        net.network.network_address: f"the network address of {net.network}: give another",
        net.network.broadcast_address: f"the broadcast address of {net.network}: give another",
        net.gateway: "that of the gateway: give another, or the right --gateway",
    }
    owner: dict[IPv4Address, str] = {}
    for name, address in nodes:
        if address not in net.network:
            raise PiclusterError(
                f"the address of {name}, {address}, is not in {net.network}: "
                "give the network that all nodes share with --prefix"
            )
        if address in taken:
            raise PiclusterError(f"the address of {name}, {address}, is {taken[address]}")
        if address in owner:
            raise PiclusterError(
                f"{name} and {owner[address]} both have the address {address}: addresses must be unique"
            )
        owner[address] = name


def pair(names: Sequence[str], addresses: Sequence[IPv4Address]) -> dict[str, IPv4Address]:
    """Pair names and addresses in order."""
    if len(names) != len(addresses):
        raise PiclusterError(
            f"--name has {len(names)} ({names[0]} to {names[-1]}) but --ips has {len(addresses)} "
            f"({addresses[0]} to {addresses[-1]}): give as many addresses as names; they are paired in order"
        )
    return dict(zip(names, addresses, strict=True))
