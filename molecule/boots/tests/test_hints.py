"""What the hints do, client by client: a real dnsmasq with the reservations that the bootstrap wrote, busybox's udhcpc.

The clients that cards configure (NetworkManager, dhcpcd, systemd-networkd) are judged in test_boots.py, on a burnt
card's first boot and after it went into another board; here is what dnsmasq does with any client.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cardkit import BOOT_START, STOCK, make_partition, mbr

from boots import dhcp
from lab.addresses import LabNet, hardware_address
from lab.engine import LABEL, Container
from lab.network import LEASES
from lab.state import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from boots.board import Bench, Reservations
    from boots.tests.conftest import Workshop

# Below the pool, above the boards of test_boots.py.
FIRST = 100
# The nodes, by what their cards send: id1 to id5 name and client-id, name1 and name2 the name alone.
NODES = {"id": 5, "name": 2}
LABELS = {"id": "bootfs", "name": "system-boot"}


@pytest.fixture(scope="module")
def reserved(bench: Bench, reservations: Reservations, workshop: Workshop) -> dict[str, str]:
    """Burn cards for the nodes; return their addresses."""
    addresses: dict[str, str] = {}
    next_one = FIRST
    folder = workshop.folder
    for cluster, count in NODES.items():
        image = folder / f"{cluster}.img"
        part = make_partition(folder / f"{cluster}.fat", STOCK, "-F", 32, "-s", 1, "-n", LABELS[cluster])
        image.write_bytes(mbr((0x0C, BOOT_START, part.stat().st_size)).ljust(BOOT_START, b"\0") + part.read_bytes())
        last = next_one + count - 1
        net = str(bench.network.net.network[0]).removesuffix(".0")
        options = {
            "--name": f"{cluster}[1-{count}]",
            "--ips": f"{net}.[{next_one}-{last}]",
            "--key": str(workshop.key.with_suffix(".pub")),
            "--image": str(image),
            "--output": str(folder / "hints"),
            "--inventories": str(folder / "inventories"),
        }
        words = [word for pair in options.items() for word in pair]
        subprocess.run([sys.executable, "-m", "picluster", "burn", *words], check=True, capture_output=True, env=ENV)
        reservations.add(folder / "inventories" / cluster / "reservations.dnsmasq")
        addresses |= {f"{cluster}{number}": f"{net}.{next_one + number - 1}" for number in range(1, count + 1)}
        next_one = last + 1
    return addresses


ENV = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "bootstrap")}


@dataclass
class Socket:
    """A place on the bridge where one client after the other asks for an address."""

    bench: Bench

    def ask(self, board: str, *, name: str = "", client_id: bytes = b"") -> str:
        """Ask as a board; return the address.

        Args:
            board: which board; another one has another hardware address.
            name: host name to send.
            client_id: client-id to send.
        """
        mac = hardware_address("hints", board)
        words = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-C", "-t", "5", "-T", "2", "-s", "/bin/true"]
        words += ["-x", f"hostname:{name}"] if name else []
        words += ["-x", f"0x3d:{client_id.hex()}"] if client_id else []
        container = self.bench.container("socket")
        for change in (["down"], ["address", mac], ["up"]):
            assert self.bench.engine.execute(container, ["ip", "link", "set", "eth0", *change])[0] == 0
        code, said = self.bench.engine.execute(container, words, timeout=60)
        assert code == 0, said
        found = re.search(r"lease of (\S+) obtained", said)
        assert found, said
        # dnsmasq tells the same.
        told = [answer for asked in self.asked(board) for answer in asked.answers if answer[0] == "DHCPACK"]
        assert told[-1][1] == found[1]
        return found[1]

    def asked(self, board: str) -> list[dhcp.Exchange]:
        """All that a board asked, as dnsmasq saw it."""
        log = self.bench.engine.logs(self.bench.network.gateway_name)
        return dhcp.exchanges(log, hardware_address("hints", board))

    def release(self, address: str) -> None:
        """Do what an administrator would: have dnsmasq forget a lease."""
        mac = self.leases()[address].mac
        code, said = self.bench.engine.execute(
            self.bench.network.gateway_name, ["dhcp_release", "br0", address, mac], timeout=30
        )
        assert code == 0, said
        deadline = time.monotonic() + 20
        while address in self.leases():
            assert time.monotonic() < deadline, self.said()[-2000:]
            time.sleep(0.1)

    def said(self) -> str:
        """All that dnsmasq said."""
        return self.bench.engine.logs(self.bench.network.gateway_name)

    def leases(self) -> dict[str, dhcp.Lease]:
        """Its leases, by address."""
        _, text = self.bench.engine.execute(self.bench.network.gateway_name, ["cat", LEASES])
        return {lease.address: lease for lease in dhcp.leases(text).values()}


@pytest.fixture(scope="module")
def socket(bench: Bench, reserved: dict[str, str]) -> Iterator[Socket]:
    name = bench.container("socket")
    bench.engine.start(
        Container(
            image=bench.image,
            name=name,
            command=["sleep", "infinity"],
            network="none",
            capabilities=["NET_ADMIN", "NET_RAW"],
            labels={LABEL: bench.cluster},
        )
    )
    bench.network.plug(["socket"])
    yield Socket(bench)
    bench.engine.remove([name])


def _in_pool(bench: Bench, address: str) -> bool:
    return LabNet.parse(str(bench.network.net)).in_pool(address)


@pytest.mark.parametrize(("node", "start"), [("id1", b""), ("id5", b"\0")], ids=["plain", "with the type byte 0"])
def test_the_very_first_lease_is_the_reserved_address_by_client_id_alone(
    socket: Socket, reserved: dict[str, str], node: str, start: bytes
) -> None:
    sent = start + node.encode()
    assert socket.ask(node, client_id=sent) == reserved[node]
    assert socket.leases()[reserved[node]].client_id == sent
    assert {asked.name for asked in socket.asked(node)} == {""}


def test_the_very_first_lease_is_the_reserved_address_by_name_where_no_client_id_can_be_sent(
    socket: Socket, reserved: dict[str, str]
) -> None:
    assert socket.ask("by-name", name="name1") == reserved["name1"]
    assert socket.asked("by-name")[0].name == "name1"


def test_by_client_id_another_board_keeps_the_address_while_the_old_lease_lives(
    socket: Socket, reserved: dict[str, str]
) -> None:
    first = socket.ask("old", name="id2", client_id=b"id2")
    assert first == reserved["id2"]
    assert socket.leases()[first].mac == hardware_address("hints", "old")
    assert socket.ask("new", name="id2", client_id=b"id2") == first
    assert socket.leases()[first].mac == hardware_address("hints", "new")


def test_by_name_another_board_has_to_wait_until_the_old_lease_ends(
    socket: Socket, bench: Bench, reserved: dict[str, str]
) -> None:
    assert socket.ask("dead", name="name2") == reserved["name2"]
    assert _in_pool(bench, socket.ask("alive", name="name2"))
    old = hardware_address("hints", "dead")
    assert f"not using configured address {reserved['name2']} because it is leased to {old}" in socket.said()
    # What dhcp_release does: the old board's lease is given back in its name.
    socket.release(reserved["name2"])
    assert reserved["name2"] not in socket.leases()
    assert socket.ask("alive", name="name2") == reserved["name2"]


def test_a_stranger_gets_an_address_of_the_pool(socket: Socket, bench: Bench, reserved: dict[str, str]) -> None:
    address = socket.ask("stranger", name="laptop", client_id=b"laptop")
    assert address not in reserved.values()
    assert _in_pool(bench, address)


def test_a_name_that_belongs_to_a_client_id_gives_nobody_the_address(
    socket: Socket, bench: Bench, reserved: dict[str, str]
) -> None:
    assert _in_pool(bench, socket.ask("claims", name="id3"))
    assert _in_pool(bench, socket.ask("claims-more", name="id3", client_id=b"mine"))
    # The node itself still gets it.
    assert socket.ask("rightful", name="id3", client_id=b"\0id3") == reserved["id3"]


def test_a_client_id_is_no_password(socket: Socket, reserved: dict[str, str]) -> None:
    # Why the host key is checked, too: whoever sends the id is given the address.
    assert socket.ask("owner", name="id4", client_id=b"id4") == reserved["id4"]
    assert socket.ask("thief", name="other", client_id=b"id4") == reserved["id4"]
