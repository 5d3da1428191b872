"""Read the leases of dnsmasq: they have the address of a node that did not get its reservation."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# Debian, Fedora, OpenWrt, Pi-hole, Homebrew, and the dnsmasq of NetworkManager for a shared connection.
USUAL: Sequence[Path] = (
    Path("/var/lib/misc/dnsmasq.leases"),
    Path("/var/lib/dnsmasq/dnsmasq.leases"),
    Path("/tmp/dhcp.leases"),  # noqa: S108 - the path of OpenWrt; only candidate addresses are read from it
    Path("/etc/pihole/dhcp.leases"),
    Path("/opt/homebrew/var/lib/misc/dnsmasq/dnsmasq.leases"),
    *(Path("/var/lib/NetworkManager").glob("dnsmasq-*.leases")),
)
# The lease file of dnsmasq: expiry, MAC, address, host name or *, client-id in hex or * (lease.c: lease_update_file).
_FIELDS = 5


@dataclass(frozen=True)
class Lease:
    """One leased address.

    The MAC address is in lower case; what the client did not send is empty.
    """

    address: IPv4Address
    mac: str
    hostname: str
    client_id: str

    def is_of(self, names: Collection[str], macs: Collection[str]) -> bool:
        """Return whether the lease belongs to one of these nodes."""
        return self.hostname in names or self.client_id in names or self.mac in macs


def parse(text: str) -> list[Lease]:
    """Return the leases in a lease file, without those of DHCPv6; raise ValueError with the number of a wrong line."""
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
    """Return a client-id as a name; NetworkManager sends it after a zero byte, dhcpcd without (RFC 2132, 9.14)."""
    try:
        return bytes.fromhex(client_id.replace(":", "")).removeprefix(b"\0").decode("ascii")
    except ValueError:
        return ""


def read(path: Path) -> list[Lease]:
    """Return the leases in the file of --leases."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PiclusterError(
            f"--leases {path} cannot be read: {error.strerror}; name a leases file of dnsmasq"
        ) from error
    except UnicodeDecodeError as error:
        raise PiclusterError(
            f"--leases {path} is not a leases file of dnsmasq: it is not text; name another file"
        ) from error
    except ValueError as error:
        raise PiclusterError(
            f"--leases {path} is not a leases file of dnsmasq: "
            f"line {error} must have expiry, MAC address, address, name and client-id; name another file"
        ) from error


def usual(names: Collection[str], macs: Collection[str]) -> list[Lease]:
    """Return the leases of these nodes in the usual files; ignore files that cannot be read.

    Other leases are left out, because such a file may belong to a network without the cluster.
    """
    found = []
    for path in USUAL:
        try:
            found += parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return [lease for lease in found if lease.is_of(names, macs)]
