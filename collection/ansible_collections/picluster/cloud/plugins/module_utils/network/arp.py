# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""ARP on a node's wire, before it takes an address: whether the address is free and the router present.

ARP and not ping: a router may ignore pings, but no machine on an Ethernet can ignore ARP. Frames after RFC 826, probes
after RFC 5227.
"""

from __future__ import annotations

import errno
import ipaddress
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

ETHERNET_ARP = 0x0806
REQUEST, REPLY = 1, 2
NOBODY = ipaddress.IPv4Address(0)
_BROADCAST, _UNKNOWN = b"\xff" * 6, b"\0" * 6
# Destination, source, type; hardware Ethernet, protocol IPv4, their lengths, operation; sender, target.
_FRAME = struct.Struct("!6s6sH HHBBH 6s4s6s4s")
_HEAD = (1, 0x0800, 6, 4)

QUESTIONS = 3
PATIENCE = 0.5  # seconds for each; on a wire an answer takes a millisecond
PAUSE = 0.5  # seconds until a machine that has the address is queried again


@dataclass(frozen=True)
class Arp:
    """The fields of an ARP packet that are used here."""

    operation: int
    mac: str
    sender: ipaddress.IPv4Address
    target: ipaddress.IPv4Address


def request(mac: bytes, sender: ipaddress.IPv4Address, target: ipaddress.IPv4Address) -> bytes:
    """Return the broadcast that asks for `target`; from NOBODY it is a probe, for itself an announcement."""
    head = (_BROADCAST, mac, ETHERNET_ARP, *_HEAD, REQUEST)
    return _FRAME.pack(*head, mac, sender.packed, _UNKNOWN, target.packed)


def parse(frame: bytes) -> Arp | None:
    """Return the packet in a frame, None if it is not ARP for IPv4 over Ethernet."""
    if len(frame) < _FRAME.size:
        return None
    _to, _by, kind, *rest = _FRAME.unpack(frame[: _FRAME.size])
    head, (operation, mac, sender, _whom, target) = tuple(rest[:4]), rest[4:]
    if kind != ETHERNET_ARP or head != _HEAD:
        return None
    return Arp(operation, mac.hex(":"), ipaddress.IPv4Address(sender), ipaddress.IPv4Address(target))


class Socket:
    """The wire behind an interface; needs root."""

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERNET_ARP))
        self._socket.bind((interface, ETHERNET_ARP))
        self.mac: bytes = self._socket.getsockname()[4]

    def send(self, frame: bytes) -> None:
        """Send a frame; raise UserError if the interface is down."""
        try:
            self._socket.send(frame)
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise
            raise UserError(
                f"interface {self.interface} is down: nothing can be sent on it; connect it, or set another interface"
            ) from error

    def receive(self, seconds: float) -> bytes | None:
        """Return the next ARP frame, None if there is none in time."""
        # Not settimeout(): what that raises is a TimeoutError only from Python 3.10 on.
        ready, _, _ = select.select([self._socket], [], [], max(seconds, 0.001))
        return self._socket.recv(2048) if ready else None


def ask(wire: Socket, frame: bytes, counts: Callable[[Arp], bool]) -> str | None:
    """Send `frame` a few times; return the MAC of the first other machine whose packet counts, or None."""
    own = wire.mac.hex(":")
    for _ in range(QUESTIONS):
        wire.send(frame)
        end = time.monotonic() + PATIENCE
        while (left := end - time.monotonic()) > 0:
            heard = wire.receive(left)
            arp = parse(heard) if heard else None
            if arp and arp.mac != own and counts(arp):
                return arp.mac
    return None


def announce(wire: Socket, address: ipaddress.IPv4Address) -> None:
    """Announce the new owner of `address`, so that no machine sends to the former one (RFC 5227, 2.3)."""
    wire.send(request(wire.mac, address, address))


def wait_until_free(wire: Socket, address: ipaddress.IPv4Address, seconds: float) -> None:
    """Wait until no other machine has `address`, or raise UserError with the MAC of the one that has it.

    A machine that is just leaving the address may keep it for some seconds.
    """

    def wants_it(arp: Arp) -> bool:
        """Return whether the sender has the address, or is about to take it (RFC 5227, 2.1.1)."""
        return arp.sender == address or (arp.operation == REQUEST and arp.sender == NOBODY and arp.target == address)

    end = time.monotonic() + seconds
    while (mac := ask(wire, request(wire.mac, NOBODY, address), wants_it)) is not None:
        if time.monotonic() >= end:
            raise UserError(
                f"address {address} is taken: {mac} answers for it on {wire.interface}; set another address, or "
                "release it on that machine"
            )
        time.sleep(PAUSE)


def find_router(wire: Socket, router: ipaddress.IPv4Address, address: ipaddress.IPv4Address) -> None:
    """Raise UserError if a router does not answer.

    `address` is the node's, which is free or its own: some routers do not answer addresses outside of their networks.
    """
    if ask(wire, request(wire.mac, address, router), lambda arp: arp.sender == router) is None:
        raise UserError(
            f"gateway {router} does not answer on {wire.interface}; correct gateway, or switch the router on"
        )
