# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The ssh connection that a module was started through: its two addresses, as sshd passed them to its child."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not at run time: Bullseye's Python 3.9 cannot join types like this.
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Connection:
    """An ssh connection as the node sees it, with the port of its sshd."""

    client: str
    server: str
    port: str = "22"


def parse_environ(environ: bytes) -> Connection | None:
    """Return the connection in a process's environment (SSH_CONNECTION, see sshd(8)), or None if there is none."""
    for item in environ.split(b"\0"):
        name, _, value = item.partition(b"=")
        if name == b"SSH_CONNECTION":
            client, _port, server, port, *_rest = [*value.decode(errors="replace").split(), "", "", "", ""]
            return Connection(client, server, port or "22") if server else None
    return None


def current_connection() -> Connection | None:
    """Return the ssh connection above this process, or None if there is none.

    sudo removes SSH_CONNECTION from the environment, so the ancestors are searched, nearest first.
    """
    pid = os.getpid()
    while pid > 1:
        folder = Path("/proc") / str(pid)
        try:
            found = parse_environ((folder / "environ").read_bytes())
            # The fields after the name in brackets, which may itself contain blanks and brackets (proc(5)).
            parent = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
        except OSError:
            return None
        if found:
            return found
        pid = int(parent)
    return None


def network_of(client: str) -> Network:
    """Return the network to allow so that a client can connect again.

    By default a machine's IPv6 address changes every day, within the same /64 (RFC 8981).

    Raises:
        ValueError: it is not an address.
    """
    # A link-local address ends in its interface (RFC 4007 section 11); an IPv4 address may be mapped into IPv6.
    address = ipaddress.ip_address(client.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return ipaddress.ip_network(address.ipv4_mapped)
        if not (address.is_link_local or address.is_loopback):
            return ipaddress.ip_network(f"{address}/64", strict=False)
    return ipaddress.ip_network(address)
