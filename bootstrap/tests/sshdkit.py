"""For the tests and benchmarks/discover: boards that are real sshd's on loopback addresses, each with its own answers.

No root is needed: 127.0.0.0/8 is the net, and each sshd takes only the key that the kit made. What a board tells of
itself comes from a small tree of files, over which the command that was sent is run as it is.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cardkit import run

if TYPE_CHECKING:
    from types import TracebackType

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "/usr/sbin/sshd"
USER = getpass.getuser()
PI = "Raspberry Pi 4 Model B Rev 1.4"
_STARTS_WITHIN = 60.0


@dataclass(frozen=True)
class Board:
    """What one board is.

    Attributes:
        address: Where it listens.
        hostname: What it calls itself.
        number: Makes its MAC, serial number and machine id; boards with the same number have the same ones.
        key: Its host key's file name; boards with the same one share the key.
        two_keys: Whether it has an ECDSA host key beside the first, which is Ed25519.
        ours: Whether it takes our key.
        model: Of the board.
        mac: If it is not to be made of the number.
        machine_id: If it is not to be made of the number.
    """

    address: str
    hostname: str
    number: int
    key: str = ""
    two_keys: bool = False
    ours: bool = True
    model: str = PI
    mac: str = ""
    machine_id: str = ""

    @property
    def shown_mac(self) -> str:
        """Its MAC."""
        return self.mac or f"dc:a6:32:00:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def serial(self) -> str:
        """Its serial number, in 16 digits as the firmware writes it."""
        return f"{0x10000000_00000000 + self.number:016x}"

    def files(self) -> dict[str, str]:
        """Return the files that it tells of itself by."""
        route = "Iface\tDestination\tGateway\nwlan0\t0002A8C0\t00000000\neth0\t00000000\t0102A8C0\n"
        return {
            "proc/sys/kernel/hostname": f"{self.hostname}\n",
            "proc/net/route": route,
            "proc/device-tree/serial-number": f"{self.serial}\0",
            "proc/device-tree/model": f"{self.model}\0",
            "sys/class/net/eth0/address": f"{self.shown_mac}\n",
            "sys/class/net/wlan0/address": "02:00:00:00:00:99\n",
            "etc/machine-id": f"{self.machine_id or f'{self.number:032x}'}\n",
        }


@dataclass
class Fleet:
    """Boards that are switched on; use it as a context, and they are switched off at its end.

    Attributes:
        folder: Where their files go.
        port: Where all of them listen.
    """

    folder: Path
    port: int = 0
    _stack: ExitStack = field(default_factory=ExitStack)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A path that others may write to is no place for keys, and sshd says so.
        self.folder.chmod(0o700)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kit", "-f", self.key)
        if os.getuid() == 0:
            # Debian's sshd has its empty folder made by the init system, which need not run here.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        if not self.port:
            with socket.create_server(("", 0)) as free:
                self.port = free.getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for address in list(self._running):
            self.switch_off(address)
        self._stack.close()

    @property
    def key(self) -> Path:
        """The private key that the boards let in."""
        return self.folder / "id"

    def switch_on(self, *boards: Board) -> None:
        """Start the boards, and wait until each listens."""
        for board in boards:
            config = self._prepare(board)
            self._running[board.address] = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=subprocess.PIPE)
        until = time.monotonic() + _STARTS_WITHIN
        for board in boards:
            while not self._listens(board.address):
                ended = self._running[board.address]
                assert ended.poll() is None, ended.communicate()
                assert time.monotonic() < until, f"{board.address} does not listen"
                time.sleep(0.01)

    def switch_off(self, address: str) -> None:
        """Stop the board at this address."""
        process = self._running.pop(address)
        process.terminate()
        process.communicate()

    def host_key(self, board: Board, kind: str = "ed25519") -> str:
        """Return a board's public host key: its type and its base64 text."""
        public = self._host_key(board, kind).with_suffix(".pub").read_text(encoding="ascii")
        return " ".join(public.split()[:2])

    def silent(self, address: str) -> None:
        """Have a host at this address that drops what it gets: its queue of connections is full, so SYNs are lost."""
        server = self._stack.enter_context(socket.socket())
        server.bind((address, self.port))
        server.listen(0)
        for _ in range(4):
            client = self._stack.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex((address, self.port))

    def mute(self, address: str) -> None:
        """Have a host at this address that takes connections and never says a word."""
        self._stack.enter_context(socket.create_server((address, self.port)))

    def _host_key(self, board: Board, kind: str) -> Path:
        path = self.folder / f"host-{(board.key or board.address).replace('.', '-')}-{kind}"
        if not path.exists():
            run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path)
        return path

    def _listens(self, address: str) -> bool:
        with socket.socket() as client:
            return client.connect_ex((address, self.port)) == 0

    def _prepare(self, board: Board) -> Path:
        tree = self.folder / board.address
        for name, text in board.files().items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text, encoding="utf-8")
        kinds = ("ed25519", "ecdsa") if board.two_keys else ("ed25519",)
        keys = "".join(f"HostKey {self._host_key(board, kind)}\n" for kind in kinds)
        authorized = tree / "authorized_keys"
        authorized.write_bytes((self.folder / "id.pub").read_bytes() if board.ours else b"")
        config = tree / "sshd_config"
        config.write_text(
            f"ListenAddress {board.address}:{self.port}\n{keys}AuthorizedKeysFile {authorized}\n"
            # Only what a shell is to run from its standard input is about the tree.
            f"ForceCommand case $SSH_ORIGINAL_COMMAND in *' sh -s '*) sed 's#/proc/\\|/sys/\\|/etc/#{tree}&#g';; esac"
            ' | eval "$SSH_ORIGINAL_COMMAND"\n'
            # A home of its own: bash reads its user's .bashrc under sshd, and that may take longer than the login.
            f"SetEnv HOME={tree}\n"
            "PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPrintMotd no\nLogLevel ERROR\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\n",
            encoding="utf-8",
        )
        return config
