"""What dnsmasq says of its clients: its log (--log-dhcp) and its leases."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_LINE = re.compile(r"^(?:\S+ )?dnsmasq-dhcp(?:\[\d+\])?: (\d+) (.*)$")
_MESSAGE = re.compile(r"^(DHCP[A-Z]+)\(\S+\) (?:(\d+\.\d+\.\d+\.\d+) )?([0-9a-f:]{17})(?: (.*))?$")


@dataclass
class Exchange:
    """One request with its answer.

    Attributes:
        kind: of the request, such as DHCPDISCOVER.
        mac: the client's hardware address.
        name: the host name that it sent (option 12), empty if none.
        answers: kind, address and rest of each answer.
    """

    kind: str = ""
    mac: str = ""
    name: str = ""
    answers: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def exchanges(log: str, mac: str) -> list[Exchange]:
    """All that a client asked, in order."""
    found: list[Exchange] = []
    now = Exchange()
    for line in log.splitlines():
        match = _LINE.match(line.strip())
        if match is None:
            continue
        said = match[2]
        message = _MESSAGE.match(said)
        if said.startswith("available DHCP"):
            now = Exchange()
        elif said.startswith("client provides name: "):
            now.name = said.removeprefix("client provides name: ")
        elif message and message[1] in {"DHCPDISCOVER", "DHCPREQUEST"}:
            now.kind, now.mac = message[1], message[3]
            found.append(now)
        elif message:
            now.answers.append((message[1], message[2] or "", message[4] or ""))
        else:
            now.notes.append(said)
    return [exchange for exchange in found if exchange.mac == mac]


@dataclass(frozen=True)
class Lease:
    """One line of dnsmasq's leases."""

    mac: str
    address: str
    name: str
    client_id: bytes


def leases(text: str) -> dict[str, Lease]:
    """Leases by hardware address."""
    found = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 5:  # noqa: PLR2004 - time, MAC, address, name, client-id
            client_id = b"" if fields[4] == "*" else bytes.fromhex(fields[4].replace(":", ""))
            found[fields[1]] = Lease(fields[1], fields[2], fields[3], client_id)
    return found
