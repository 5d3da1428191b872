"""Addresses that a dnsmasq gave out: a node without its reservation is in the pool, and the leases say where."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# Debian, Fedora, OpenWrt, Pi-hole, Homebrew; and the one that NetworkManager starts for a shared connection.
USUAL: Sequence[Path] = (
    Path("/var/lib/misc/dnsmasq.leases"),
    Path("/var/lib/dnsmasq/dnsmasq.leases"),
    Path("/tmp/dhcp.leases"),  # noqa: S108 - OpenWrt's own place; it is read, and believed in nothing
    Path("/etc/pihole/dhcp.leases"),
    Path("/opt/homebrew/var/lib/misc/dnsmasq/dnsmasq.leases"),
    *(Path("/var/lib/NetworkManager").glob("dnsmasq-*.leases")),
)
# dnsmasq's lease file: expiry, MAC, address, host name or *, client-id in hex or * (lease.c: lease_update_file).
_FIELDS = 5


@dataclass(frozen=True)
class Lease:
    """One address that was given out.

    Attributes:
        address: The address.
        mac: Whose it is, small letters.
        hostname: What the client called itself, or "".
        client_id: Its client-id as text, or "".
    """

    address: IPv4Address
    mac: str
    hostname: str
    client_id: str

    def is_of(self, names: Collection[str], macs: Collection[str]) -> bool:
        """Whether it names one of these nodes."""
        return self.hostname in names or self.client_id in names or self.mac in macs


def parse(text: str) -> list[Lease]:
    """Read a lease file; DHCPv6's part is left out.

    Raises:
        ValueError: if it is none, with the number of the line.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if fields[:1] == ["duid"]:
            break
        if not fields:
            continue
        try:
            int(fields[0])
            address = IPv4Address(fields[2])
        except (ValueError, IndexError, AddressValueError):
            raise ValueError(number) from None
        hostname, client_id = (*fields[3:_FIELDS], "*", "*")[:2]
        found.append(Lease(address, fields[1].lower(), "" if hostname == "*" else hostname, _as_text(client_id)))
    return found


def _as_text(client_id: str) -> str:
    """Return a client-id as a name; NetworkManager sends it behind a zero byte, dhcpcd plain (RFC 2132, 9.14)."""
    try:
        return bytes.fromhex(client_id.replace(":", "")).removeprefix(b"\0").decode("ascii")
    except ValueError:
        return ""


def read(path: Path) -> list[Lease]:
    """Read the file that the user gave.

    Raises:
        PiclusterError: if it cannot be read or is no lease file.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PiclusterError(f"--leases {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PiclusterError(f"--leases {path} is not a leases file of dnsmasq: it is not text") from error
    except ValueError as error:
        raise PiclusterError(
            f"--leases {path} is not a leases file of dnsmasq: line {error} wants expiry, MAC, address, name, client-id"
        ) from error


def usual(names: Collection[str], macs: Collection[str]) -> list[Lease]:
    """Return the leases of these nodes in the usual places; what cannot be read there is no matter.

    Only those that name a node: such a file may be of a net that has nothing to do with the cluster.
    """
    found = []
    for path in USUAL:
        try:
            found += parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return [lease for lease in found if lease.is_of(names, macs)]
