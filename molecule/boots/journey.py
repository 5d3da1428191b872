"""What is done with each card: burnt, started in one board, the power cut, started in another board."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from boots import dhcp
from boots.generations import Generation, stand_ins
from boots.login import Client
from lab.addresses import hardware_address
from lab.cards import host_architecture
from lab.errors import LabError
from lab.image import BOOT_START, Layout, write_card
from lab.network import LEASES
from lab.state import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from boots.board import Bench
    from lab.recipe import Recipe

# A first login takes a minute or two where the machine has nothing else to do.
PATIENCE = 600.0
PASSPHRASE = "correct horse"  # noqa: S105 - of a network that is nowhere
# The state comes first: it waits until the node has nothing left to do.
QUESTIONS = {
    "state": "systemctl is-system-running --wait",
    "failed": "systemctl list-units --failed --plain --no-legend",
    "hostname": "hostname",
    "own name": 'getent -s files hosts "$(hostname)"',
    "groups": "id -Gn",
    "shell": 'getent passwd "$(id -un)" | cut -d: -f7',
    "root": "sudo -n id -un",
    "password": 'sudo -n passwd -S "$(id -un)" | cut -d" " -f2',
    "keys": "cat ~/.ssh/authorized_keys",
    "sudoers": "sudo -n visudo -c",
    "wifi": "sudo -n grep -rl access-points /etc/netplan | xargs -r sudo -n stat -c '%a %U'",
    "address": "ip -4 -brief address show dev eth0",
    "fat": "findmnt --noheadings --output FSTYPE,TARGET --types vfat",
    "cloud-init": "if command -v cloud-init; then cloud-init status --long; sudo -n cloud-init schema --system; fi",
    "files": (
        # resolv.conf is the DHCP client's.
        "for what in '-printf %p_%y_%m_%U:%G_%l\\n' '-type f -exec sha256sum {} +'; do"
        " sudo -n find /etc /home /root /usr/local -xdev ! -path /etc/resolv.conf $what; done | sort"
    ),
    "versions": (
        ". /etc/os-release; echo $PRETTY_NAME; systemctl --version | sed -n '1s/ (.*//p'; ssh -V;"
        " for it in NetworkManager dhcpcd cloud-init; do"
        ' if sudo -n which $it >/dev/null; then echo "$it $(sudo -n $it --version | head -n1)"; fi; done'
    ),
}


@dataclass
class Visit:
    """One card in one board, from power on to power off.

    Attributes:
        mac: of the board.
        starts: the kernel's words, each time it started.
        seconds: until the first login.
        said: the node's answers to QUESTIONS.
        asked: all that the node's DHCP client asked.
        lease: what dnsmasq leased to the board.
        refused: whether dnsmasq said that the reserved address is another board's.
        boot: the card's boot partition afterwards.
    """

    mac: str
    starts: list[str] = field(default_factory=list)
    seconds: float = 0.0
    said: dict[str, str] = field(default_factory=dict)
    asked: list[dhcp.Exchange] = field(default_factory=list)
    lease: dhcp.Lease | None = None
    refused: bool = False
    boot: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Story:
    """What was seen of one generation's card."""

    generation: Generation
    address: str
    key: str
    stock: dict[str, bytes]
    burnt: dict[str, bytes]
    first: Visit
    second: Visit
    password: subprocess.CompletedProcess[str]
    root: subprocess.CompletedProcess[str]
    signature: str


@dataclass(frozen=True)
class Traveller:
    """Takes one card on its way."""

    generation: Generation
    address: str
    bench: Bench
    system: tuple[Recipe, Path]
    kernel: Path
    key: Path
    folder: Path
    notes: Path
    reserve: Callable[[Path], None]

    @property
    def _node(self) -> str:
        return self.generation.node

    @cached_property
    def _card(self) -> Path:
        return self.folder / "cards" / f"{self._node}.img"

    def go(self) -> Story:
        """Take the card on its way."""
        stock = self._lay_out()
        self._burn()
        burnt = boot_files(self._card)
        first = self._visit("", accept=self.address)
        password = self._client(self.address).by_password(self.generation.user, self.folder)
        root = self._client(self.address).by_key("root", "true")
        self._leave(first)
        second = self._visit("b", accept=None)
        self._leave(second)
        with self._card.open("rb") as card:
            card.seek(440)
            signature = card.read(4)[::-1].hex()
        self._card.unlink()
        return Story(
            generation=self.generation,
            address=self.address,
            key=self.key.with_suffix(".pub").read_text("utf-8").strip(),
            stock=stock,
            burnt=burnt,
            first=first,
            second=second,
            password=password,
            root=root,
            signature=signature,
        )

    def _lay_out(self) -> dict[str, bytes]:
        """Make the stock image, its system with the modules of the board's kernel."""
        recipe, rootfs = self.system
        files = self.generation.boot_files(recipe.disk_id)
        extra = self.folder / "stand-ins.tar"
        extra.write_bytes(stand_ins(self.generation.stand_ins))
        root: list[tuple[Path, tuple[str, ...]]] = [(rootfs, ()), (self.kernel, ("./usr/lib/modules",)), (extra, ())]
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            layout = Layout(recipe.disk_id, self.generation.label, files, root)
            write_card(self._image, layout, Path(scratch))
        return files

    @property
    def _image(self) -> Path:
        return self.folder / f"{self.generation.name}.img"

    def _burn(self) -> None:
        """Burn the card by the real command."""
        options = {
            "--name": self._node,
            "--ips": self.address,
            "--cluster": self.generation.name,
            "--key": str(self.key.with_suffix(".pub")),
            "--user": self.generation.user,
            "--gateway": self.bench.network.net.gateway,
            "--arch": host_architecture(),
            "--image": str(self._image),
            "--output": str(self._card.parent),
            "--inventories": str(self.folder / "inventories"),
        }
        if self.generation.wifi:
            passphrase = self.folder / "passphrase"
            passphrase.write_text(PASSPHRASE, "utf-8")
            options |= {"--wifi": "lab", "--wifi-passphrase-file": str(passphrase), "--country": "DE"}
        words = [word for pair in options.items() for word in pair]
        done = subprocess.run(
            [sys.executable, "-m", "picluster", "burn", *words],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "bootstrap"), "HOME": str(self.folder)},
        )
        if done.returncode:
            raise LabError(f"{self.generation.what}: {done.stderr.strip()}")
        self._image.unlink()
        self.reserve(self.folder / "inventories" / self.generation.name / "reservations.dnsmasq")

    def _client(self, address: str) -> Client:
        # By the node's name, as Ansible does: a board swap may change the address, never the host key.
        return Client(self.key, self.folder / "known_hosts", address, self._node)

    def _visit(self, board: str, accept: str | None) -> Visit:
        """Switch a board on with the card; ask the node once it can be logged in to.

        Args:
            board: tells this node's boards apart.
            accept: the address where the node must be; None: where dnsmasq says.
        """
        mac = hardware_address(self.bench.cluster, self._node + board)
        start = time.monotonic()
        self.bench.power_on(self._node, self._card, mac, limit=self.generation.starts + 1)
        visit = Visit(mac)
        while True:
            address = accept or self._leased(mac)
            if address and self._client(address).by_key(self.generation.user, "true").returncode == 0:
                break
            if not self.bench.is_on(self._node) or time.monotonic() - start > PATIENCE:
                self._note(board, visit)
                end = "\n".join(self.bench.console(self._node).splitlines()[-40:])
                raise LabError(f"{self.generation.what}: no login by the key; see {self.notes}.\n{end}")
            time.sleep(1)
        visit.seconds = time.monotonic() - start
        visit.said = self._client(address).ask(self.generation.user, QUESTIONS)
        self._note(board, visit)
        return visit

    def _leave(self, visit: Visit) -> None:
        """Note what is seen from outside; then cut the power, so that the lease lives on."""
        address = self._leased(visit.mac)
        self._client(address or self.address).by_key(self.generation.user, "sync")
        visit.starts = self.bench.starts(self._node)
        self.bench.pull_the_plug(self._node)
        log = self._dhcp_log()
        visit.asked = dhcp.exchanges(log, visit.mac)
        visit.refused = f"not using configured address {self.address} because it is leased to" in log
        visit.lease = self._leases().get(visit.mac)
        visit.boot = boot_files(self._card)

    def _note(self, board: str, visit: Visit) -> None:
        """Keep what was seen for people to read: what the console said, what the node answered, what it asked."""
        self.notes.mkdir(parents=True, exist_ok=True)
        answers = "".join(f"\n== {name}\n{text}\n" for name, text in visit.said.items())
        asked = "\n".join(map(str, dhcp.exchanges(self._dhcp_log(), visit.mac)))
        text = f"{self.bench.console(self._node)}\n{answers}\n== DHCP\n{asked}\n"
        (self.notes / f"{self._node}{board}.txt").write_text(text, "utf-8")

    def _leased(self, mac: str) -> str:
        found = self._leases().get(mac)
        return found.address if found else ""

    def _leases(self) -> dict[str, dhcp.Lease]:
        _, said = self.bench.engine.execute(self.bench.network.gateway_name, ["cat", LEASES])
        return dhcp.leases(said)

    def _dhcp_log(self) -> str:
        return self.bench.engine.logs(self.bench.network.gateway_name)


def boot_files(card: Path) -> dict[str, bytes]:
    """Read all files of a card's FAT partition, by mtools."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["mcopy", "-s", "-n", "-Q", "-i", f"{card}@@{BOOT_START}", "::*", folder], check=True, capture_output=True
        )
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def words(cmdline: bytes) -> list[str]:
    """Return the words of a cmdline.txt.

    Raises:
        ValueError: it is not one line that ends.
    """
    text = cmdline.decode("ascii")
    if not re.fullmatch(r"[^\r\n]+\n", text):
        raise ValueError(f"cmdline.txt is not one line: {text!r}")
    return text.split()
