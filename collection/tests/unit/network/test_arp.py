"""ARP before a node takes an address: the frames, and what an answer means."""

from __future__ import annotations

import errno
import ipaddress
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.network import arp
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OWN, OTHER = bytes.fromhex("dca632010203"), bytes.fromhex("dca632aabbcc")
ADDRESS = ipaddress.IPv4Address("10.0.0.12")
ROUTER = ipaddress.IPv4Address("10.0.0.1")


def reply(mac: bytes, sender: ipaddress.IPv4Address, target: ipaddress.IPv4Address = ROUTER) -> bytes:
    frame = bytearray(arp.request(mac, sender, target))
    frame[21] = arp.REPLY
    return bytes(frame)


class FakeWire(arp.Socket):
    """A wire whose machines answer by a function, on a clock that runs only while somebody listens or pauses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[FakeWire, bytes], list[bytes]]) -> None:
        self.mac, self.interface = OWN, "eth0"
        self.now = 0.0
        self.sent: list[bytes] = []
        self._answer = answer
        self._heard: list[bytes] = []
        monkeypatch.setattr(arp.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(arp.time, "sleep", self._pass)

    def _pass(self, seconds: float) -> None:
        self.now += seconds

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)
        # A packet socket hears what it sends itself.
        self._heard = [frame, *self._answer(self, frame)]

    def receive(self, seconds: float) -> bytes | None:
        if self._heard:
            return self._heard.pop(0)
        self._pass(seconds)
        return None


def test_a_probe_is_the_frame_of_the_standard() -> None:
    # RFC 826's fields; RFC 5227: a probe has no sender address.
    frame = arp.request(OWN, arp.NOBODY, ADDRESS)
    assert frame[:14].hex(" ", 2) == "ffff ffff ffff dca6 3201 0203 0806"
    assert frame[14:22].hex(" ", 2) == "0001 0800 0604 0001"
    assert frame[22:].hex(" ", 2) == "dca6 3201 0203 0000 0000 0000 0000 0000 0a00 000c"


def test_what_is_sent_can_be_read() -> None:
    assert arp.parse(reply(OTHER, ADDRESS, ROUTER) + b"\0" * 18) == arp.Arp(
        arp.REPLY, "dc:a6:32:aa:bb:cc", ADDRESS, ROUTER
    )


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        arp.request(OWN, arp.NOBODY, ADDRESS)[:-1],
        # IPv4 itself, and ARP for another kind of address.
        arp.request(OWN, arp.NOBODY, ADDRESS).replace(b"\x08\x06", b"\x08\x00", 1),
        arp.request(OWN, arp.NOBODY, ADDRESS).replace(b"\x06\x04\x00\x01", b"\x06\x10\x00\x01", 1),
    ],
)
def test_what_is_no_arp_is_nothing(frame: bytes) -> None:
    assert arp.parse(frame) is None


def test_a_free_address_is_asked_for_more_than_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire(monkeypatch, lambda *_: [reply(OTHER, ROUTER)])
    arp.wait_until_free(wire, ADDRESS, 15)
    assert wire.sent == [arp.request(OWN, arp.NOBODY, ADDRESS)] * arp.QUESTIONS


@pytest.mark.parametrize(
    "frame",
    [
        reply(OTHER, ADDRESS),
        arp.request(OTHER, ADDRESS, ROUTER),
        # Another machine that asks the same at this moment.
        arp.request(OTHER, arp.NOBODY, ADDRESS),
    ],
)
def test_another_s_address_is_refused_with_its_mac(monkeypatch: pytest.MonkeyPatch, frame: bytes) -> None:
    wire = FakeWire(monkeypatch, lambda *_: [frame])
    with pytest.raises(UserError, match=r"address 10\.0\.0\.12 is taken: dc:a6:32:aa:bb:cc answers for it on eth0"):
        arp.wait_until_free(wire, ADDRESS, 0)


def test_a_machine_that_is_just_leaving_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire(monkeypatch, lambda wire, _: [reply(OTHER, ADDRESS)] if wire.now < 5 else [])
    arp.wait_until_free(wire, ADDRESS, 15)
    assert 5 <= wire.now < 8


def test_a_machine_that_stays_is_not_waited_for_longer_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire(monkeypatch, lambda *_: [reply(OTHER, ADDRESS)])
    with pytest.raises(UserError, match="is taken"):
        arp.wait_until_free(wire, ADDRESS, 15)
    assert 15 <= wire.now < 17


def test_the_router_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire(monkeypatch, lambda *_: [reply(OTHER, ROUTER, ADDRESS)])
    arp.find_router(wire, ROUTER, ADDRESS)
    assert wire.sent == [arp.request(OWN, ADDRESS, ROUTER)]


@pytest.mark.parametrize("heard", [[], [reply(OTHER, ADDRESS)], [b"x"]])
def test_a_router_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, heard: list[bytes]) -> None:
    wire = FakeWire(monkeypatch, lambda *_: heard)
    with pytest.raises(UserError, match=r"gateway 10\.0\.0\.1 does not answer on eth0; correct gateway"):
        arp.find_router(wire, ROUTER, ADDRESS)


def test_everybody_is_told_of_the_new_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire(monkeypatch, lambda *_: [])
    arp.announce(wire, ADDRESS)
    assert wire.sent == [arp.request(OWN, ADDRESS, ADDRESS)]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[arp.Socket, socket.socket]]:
    """Return the wire behind an interface, and its other end; a raw socket would need root."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    monkeypatch.setattr(arp.Socket, "__init__", lambda *_: None)
    wire = arp.Socket("eth0")
    wire._socket, wire.interface = near, "eth0"
    with near, far:
        yield wire, far


def test_a_silent_wire_is_no_error(ends: tuple[arp.Socket, socket.socket]) -> None:
    wire, far = ends
    assert wire.receive(0.01) is None
    far.send(b"frame")
    assert wire.receive(5) == b"frame"
    # A recv() with a time limit raises another exception on Python 3.9 than on later ones.
    assert wire._socket.gettimeout() is None


def test_an_interface_that_is_down_is_named(
    ends: tuple[arp.Socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, _far = ends
    down = SimpleNamespace(send=lambda _frame: (_ for _ in ()).throw(OSError(errno.ENETDOWN, "Network is down")))
    monkeypatch.setattr(wire, "_socket", down)
    with pytest.raises(UserError, match="interface eth0 is down"):
        wire.send(b"frame")


def test_any_other_refusal_of_the_socket_is_a_bug(ends: tuple[arp.Socket, socket.socket]) -> None:
    wire, far = ends
    far.close()
    with pytest.raises(ConnectionRefusedError):
        wire.send(b"frame")
