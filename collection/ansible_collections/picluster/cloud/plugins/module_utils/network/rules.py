# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of a static address, and the checks of them. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.hostname import (
    INTERFACE_RULE,
    is_address,
    is_domain,
    is_interface,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# /31 and /32 have neither a network nor a broadcast address.
_LONGEST_PREFIX = 30


@dataclass(frozen=True)
class AddressSettings:
    """The desired address of a node; short names are looked up in the `search` domains."""

    interface: str
    address: ipaddress.IPv4Interface
    gateway: ipaddress.IPv4Address
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.address.with_prefixlen} static via {self.gateway}"


def read_settings(  # noqa: PLR0913 - one argument an option
    *, interface: str, address: str, prefix: int, gateway: str, dns: Sequence[str] = (), search: Sequence[str] = ()
) -> AddressSettings:
    """Return the settings from the options of the module static_address; raise UserError if an option cannot work."""
    try:
        own = ipaddress.IPv4Interface(f"{address}/{prefix}")
    except ValueError as error:
        raise UserError(
            f"address or prefix is invalid: {address}/{prefix}; expected an IPv4 address and the bits of its network, "
            "such as 192.168.1.11 and 24"
        ) from error
    network = own.network
    if network.prefixlen <= _LONGEST_PREFIX and own.ip in {network.network_address, network.broadcast_address}:
        raise UserError(
            f"address is not usable: {address} is the network or broadcast address of {network}; correct address or "
            "prefix"
        )
    try:
        router = ipaddress.IPv4Address(gateway)
    except ValueError as error:
        raise UserError(f"gateway is invalid: {gateway}; expected the router's IPv4 address") from error
    if router not in network or router == own.ip:
        raise UserError(
            f"gateway is not usable: {router} is not another address in {network}, the network of address {address}; "
            "correct one of them"
        )
    if not is_interface(interface):
        raise UserError(f"interface is invalid: {interface!r}; expected {INTERFACE_RULE}")
    for server in dns:
        if not is_address(server):
            raise UserError(f"dns contains {server!r}; expected IP addresses of name servers")
    for domain in search:
        if not is_domain(domain):
            raise UserError(f"search contains {domain!r}; expected domains such as home.arpa")
    return AddressSettings(interface, own, router, tuple(dns), tuple(search))


def parse_parking(text: str) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]:
    """Return the ends of a range such as 192.168.63.240-192.168.63.250; raise UserError if it is not a range."""
    first, dash, last = text.partition("-")
    try:
        pair = ipaddress.IPv4Address(first.strip()), ipaddress.IPv4Address((last if dash else first).strip())
    except ValueError as error:
        raise UserError(
            f"parking is invalid: {text!r}; expected a range of free addresses such as 192.168.63.240-192.168.63.250"
        ) from error
    if pair[1] < pair[0]:
        raise UserError(f"parking is invalid: {text!r}; put the lower address first")
    return pair
