"""Fixtures: cards, keys, boards and judges."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from cardkit import BOOT_START, ROOT_SIZE, STOCK, Judge, make_partition, mbr, noise, run
from discoverkit import INVENTORY, NODES, RED, nodes_text, write
from hypothesis import settings
from readerkit import Machine, reader
from sshdkit import USER, Fleet

from picluster.devices import host, rounds
from picluster.discover import leases, mdns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

# A busy machine is no reason to fail.
settings.register_profile("picluster", deadline=None)
settings.load_profile("picluster")

# What a shell starts in the background ignores Ctrl-C, and so does all that it starts; some tests are about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return Judge(tmp_path)


@pytest.fixture
def make_card(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of card images: an MBR, a gap, the FAT partition, a root partition of random bytes."""

    def make(
        name: str = "card.img",
        files: Mapping[str, bytes] | None = None,
        mkfs: tuple[object, ...] = ("-F", 32, "-s", 1, "-n", "bootfs"),
        kind: int = 0x0C,
    ) -> Path:
        part = make_partition(tmp_path / f"{name}.fat", STOCK if files is None else files, *mkfs)
        boot = part.read_bytes()
        card = tmp_path / name
        with card.open("wb") as stream:
            stream.write(mbr((kind, BOOT_START, len(boot)), (0x83, BOOT_START + len(boot), ROOT_SIZE)))
            stream.seek(1 << 20)
            stream.write(b"between the table and the partition")
            stream.seek(BOOT_START)
            stream.write(boot)
            # Random bytes, a long hole and an end that fills no block.
            stream.write(noise(2, ROOT_SIZE // 2))
            stream.truncate(BOOT_START + len(boot) + ROOT_SIZE + 700)
        part.unlink()
        return card

    return make


@pytest.fixture
def public_key(tmp_path: Path) -> Path:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@home", "-f", tmp_path / "key")
    return tmp_path / "key.pub"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public_key: Path, make_card: Callable[..., Path]) -> Path:
    """A folder to work in, with a key pair and a card image, and a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert public_key.exists()
    make_card()
    return tmp_path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Two readers with an empty card each."""
    (tmp_path / "readers").mkdir()
    made = Machine(tmp_path / "readers", [reader("/dev/sdb", "1"), reader("/dev/sdc", "2")])
    monkeypatch.setattr(host, "platform", lambda: made)
    monkeypatch.setattr(rounds.time, "sleep", lambda _: None)
    return made


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Boards that are off, and the inventory of red1 to red3; nothing of this machine's own network is asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(leases, "USUAL", ())

    async def nobody(*_: object) -> None:
        """Where there is no multicast."""

    monkeypatch.setattr(mdns, "resolve", nobody)
    with Fleet(tmp_path / "fleet") as made:
        write(NODES, nodes_text(RED))
        write(
            INVENTORY / "group_vars/all/cluster.yml",
            "---\nnode_interface: eth0\nnode_prefix: 28\nnode_gateway: 127.77.0.14\nnode_dns: [127.77.0.14]\n"
            f"node_arch: amd64\ncluster_secret: {'a' * 64}\n",
        )
        write(
            INVENTORY / "group_vars/nodes/connection.yml",
            "---\nansible_host: '{{ node_address }}'\n"
            f"ansible_user: {USER}\nansible_port: {made.port}\n"
            "ansible_ssh_private_key_file: '{{ inventory_dir }}/../../fleet/id'\n"
            "ansible_ssh_common_args: -o 'UserKnownHostsFile=\"{{ inventory_dir }}/known_hosts\"' "
            "-o HostKeyAlias={{ inventory_hostname }} -o StrictHostKeyChecking=yes\n",
        )
        yield made
