"""Boards: user-mode Linux in a container starts a card image, on the bridge of the lab's gateway.

The kernel is a real one, so what a card relies on is what it gets: words and quotes of cmdline.txt, init=, PARTUUID,
the FAT partition mounted by the system itself, a restart that reads cmdline.txt anew, SysRq that ends nobody else.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.addresses import port_name
from lab.engine import LABEL, Container
from lab.image import BOOT_START
from lab.network import RESERVATIONS

if TYPE_CHECKING:
    from pathlib import Path

    from lab.engine import Engine
    from lab.network import Network

_START = re.compile(r"^firmware: start \d+: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Bench:
    """Where boards are switched on."""

    engine: Engine
    network: Network
    image: str
    cluster: str

    def power_on(self, node: str, card: Path, mac: str, limit: int) -> None:
        """Put a card into a board and switch it on.

        Args:
            node: name of the board.
            card: the card image; the board writes to it.
            mac: the board's hardware address.
            limit: after how many starts of the kernel it gives up.
        """
        settings = {
            "BOARD_CARD": f"/cards/{card.name}",
            "BOARD_OFFSET": str(BOOT_START),
            "BOARD_PORT": port_name(node),
            "BOARD_MAC": mac,
            "BOARD_LIMIT": str(limit),
            "TMPDIR": "/tmp",  # noqa: S108 - the container's own; the kernel keeps the board's memory there
        }
        words = [f"{key}={value}" for key, value in settings.items()]
        self.engine.start(
            Container(
                image=self.image,
                name=self.container(node),
                command=["env", *words, "sh", "-c", 'firmware; echo "firmware: off ($?)"'],
                network=f"container:{self.network.gateway_name}",
                unconfined=True,
                capabilities=["NET_ADMIN"],
                devices=["/dev/net/tun"],
                tmpfs=["/tmp:exec,mode=1777"],  # noqa: S108
                binds=[(card.parent, "/cards", "rw")],
                labels={LABEL: self.cluster},
            )
        )

    def container(self, node: str) -> str:
        """The container's name."""
        return f"{self.cluster}-{node}"

    def is_on(self, node: str) -> bool:
        """Whether the board still runs."""
        found = self.engine.status(self.container(node))
        return found is not None and found.running

    def console(self, node: str) -> str:
        """What firmware, kernel and system said."""
        return self.engine.logs(self.container(node))

    def starts(self, node: str) -> list[str]:
        """The kernel's words at each start since the power came."""
        return _START.findall(self.console(node))

    def pull_the_plug(self, node: str) -> None:
        """Cut the power, without a word to anybody."""
        self.engine.remove([self.container(node)])


class Reservations:
    """What the gateway serves: the files that the bootstrap wrote, one after the other."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder = folder
        self._network = network
        self._lock = threading.Lock()
        self.folder.mkdir()
        (self.folder / RESERVATIONS).touch()

    def add(self, written: Path) -> None:
        """Take over a file as it is."""
        with self._lock:
            with (self.folder / RESERVATIONS).open("a", encoding="utf-8") as served:
                served.write(written.read_text("utf-8"))
            # Also makes dnsmasq read it again.
            self._network.start_gateway(self.folder)
