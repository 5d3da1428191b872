# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what a node is to be called, where it is, and who keeps its clock. Pure."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.hostname import (
    HOSTNAME_RULE,
    is_address,
    is_domain,
    is_hostname,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*)*")
_LOCALE = re.compile(r"(C|POSIX|[a-z]{2,3}_[A-Z]{2})(\.[A-Za-z0-9-]+)?(@[a-z]+)?")


def check_options(options: Mapping[str, Any]) -> None:
    """Check the options of the module identity without the node; raise UserError if one of them cannot work."""
    hostname, hosts = options["hostname"], options["hosts"]
    if not is_hostname(hostname):
        raise UserError(f"hostname is invalid: {hostname!r}; expected {HOSTNAME_RULE}")
    if hostname not in hosts:
        raise UserError(f"hosts is incomplete: it has no entry for {hostname}; add {hostname}: <address>")
    for name, address in hosts.items():
        if not is_address(str(address)):
            raise UserError(
                f"hosts is invalid: {name} has the address {address!r}; expected an IP address such as 192.168.1.11"
            )
    check_timezone(options["timezone"])
    check_locale(options["locale"])
    check_servers(options["ntp_servers"])


def check_arch(hostname: str, arch: str, userland: str, machine: str) -> None:
    """Raise UserError if the node does not have the desired architecture, or if no layer supports the board.

    `userland` is what `dpkg --print-architecture` reports, `machine` the kernel's name: a 64-bit kernel can run a
    32-bit userland.
    """
    if machine.startswith(("armv5", "armv6")):
        raise UserError(
            f"the board is not supported: {hostname} is {machine} (Raspberry Pi 1 or Zero), for which neither Docker "
            "nor k3s is built; use a Raspberry Pi 2 or newer, or remove the node from the inventory"
        )
    if userland != arch:
        raise UserError(
            f"arch does not match the node: expected {arch}, {hostname} runs {userland} programs (kernel: {machine}); "
            f"set arch to {userland}, or burn its card from an image for {arch}"
        )


def check_timezone(zone: str, known: Iterable[str] = ()) -> None:
    """Raise UserError if the time zone does not exist; without `known` names, only the form is checked."""
    names = sorted(known)
    if not _ZONE.fullmatch(zone) or (names and zone not in names):
        raise UserError(
            f"timezone is unknown: {zone!r}; expected a name of the tz database such as Europe/Berlin"
            f"{suggestion(zone, names)}"
        )


def check_locale(locale: str) -> None:
    """Raise UserError if this is not the form of a locale's name."""
    if not _LOCALE.fullmatch(locale):
        raise UserError(f"locale is invalid: {locale!r}; expected a name such as C.UTF-8 or de_DE.UTF-8")


def check_servers(servers: Sequence[str]) -> None:
    """Raise UserError if a time server is neither a host name nor an address."""
    for server in map(str, servers):
        # Digits and dots alone are an incomplete address.
        is_name = is_domain(server.removesuffix(".")) and not server.replace(".", "").isdigit()
        if not is_name and not is_address(server):
            raise UserError(
                f"ntp_servers contains {server!r}; expected host names or addresses such as ntp.example.org"
            )


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return the nearest name as a question in brackets, empty if none is near."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {found[0]}?)" if found else ""
