"""Log in at an address by OpenSSH's own client, ask one question, and keep the host key that was shown.

Why the client program and no library: measured on two cores, with 200 real sshd's on the same machine, 200 logins take
the program 2.3 s of CPU, asyncssh 2.24 0.7 s and paramiko 5.1 0.8 s, and by the clock 4.5 s, 2.7 s and 3.0 s. All of it
is far from a limit, and only the program reads ~/.ssh/config, asks the agent and FIDO keys, and is what Ansible uses.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address
    from pathlib import Path

REFUSED = "refused"
# At once: more gain nothing (measured with 8, 32 and 200), and each is a process.
LOGINS = 32
_BEGIN, _END = "picluster-node", "picluster-end"
# The interface of the cluster's net tells who the board is, by whichever address it was reached; where a board has none
# of this name, that of the default route. /proc/device-tree is the firmware's word, DMI is for what is no Pi. Few
# processes: 200 boards take it easily, but in the tests one machine plays them all.
_QUESTION = f"""\
tell() {{
  printf '\\n%s=' "$1"
  if [ -r "$2" ]; then cat "$2"; fi
}}
interface=$1
if [ ! -e "/sys/class/net/$interface/address" ]; then
  while read -r name destination rest; do
    if [ "$destination" = 00000000 ]; then interface=$name; break; fi
  done </proc/net/route
fi
echo {_BEGIN}
tell name /proc/sys/kernel/hostname
tell mac "/sys/class/net/$interface/address"
tell serial /proc/device-tree/serial-number
tell model /proc/device-tree/model
tell dmi_serial /sys/class/dmi/id/product_serial
tell dmi_model /sys/class/dmi/id/product_name
tell machine_id /etc/machine-id
printf '\\narch='
dpkg --print-architecture 2>/dev/null || uname -m
echo {_END}
"""
_MAC = re.compile(r"(?!00:00:00:00:00:00)[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
# What a board says goes to a terminal and into files that Ansible reads, where {{ }} is code: only harmless letters.
_HARMFUL = re.compile(r"[^A-Za-z0-9 ._,:;()+/#@-]")
_LONGEST = 80


@dataclass(frozen=True)
class Access:
    """How to log in.

    Attributes:
        user: Who.
        key: Private key, None if ssh finds one by itself.
        port: Of ssh.
        interface: Of the node, whose MAC is asked.
        limit_s: How long a login and its answer may take, in seconds.
        folder: A private folder for the host keys that are shown.
    """

    user: str
    key: Path | None
    port: int
    interface: str
    limit_s: float
    folder: Path


@dataclass(frozen=True)
class Answer:
    """What a board told of itself; what it does not know is empty.

    Attributes:
        name: Its host name's first label.
        mac: Of the cluster's interface.
        serial: Of the board.
        model: Of the board.
        machine_id: Of its system.
        arch: As Debian names it.
    """

    name: str
    mac: str
    serial: str
    model: str
    machine_id: str
    arch: str


@dataclass(frozen=True)
class Login:
    """How a login ended.

    Attributes:
        address: Where.
        host_key: What was shown: type and base64 text, or "" if it did not come to that.
        answer: What it told, None if we did not get in.
        problem: Why not: REFUSED, or what ssh said.
    """

    address: IPv4Address
    host_key: str
    answer: Answer | None
    problem: str = ""


def require_client() -> None:
    """Refuse to go on without ssh.

    Raises:
        PiclusterError: if it is not there.
    """
    if shutil.which("ssh") is None:
        raise PiclusterError("there is no ssh on this machine's PATH: install OpenSSH's client")


def command(access: Access, address: IPv4Address, known_hosts: Path, alias: str, *, trust_machine: bool) -> list[str]:
    """Return the ssh command without what it is to run: it asks nobody, forwards nothing and shares no connection.

    Args:
        access: How to log in.
        address: Where.
        known_hosts: The one file of host keys that is read and written.
        alias: The name that the host key has there.
        trust_machine: Whether the host keys that this machine knows for all its users count as well.
    """
    settings = {
        "BatchMode": "yes",
        "ConnectTimeout": str(math.ceil(access.limit_s)),
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": f'"{known_hosts.as_posix()}"',
        **({} if trust_machine else {"GlobalKnownHostsFile": os.devnull}),
        "HostKeyAlias": alias,
        "HashKnownHosts": "no",
        "UpdateHostKeys": "no",
        "VerifyHostKeyDNS": "no",
        # As in the inventory: a sixth of the CPU that OpenSSH 9's default exchange takes.
        "KexAlgorithms": "^curve25519-sha256",
        "PreferredAuthentications": "publickey",
        "ControlMaster": "no",
        "ControlPath": "none",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "LogLevel": "ERROR",
    }
    identity = ["-i", str(access.key)] if access.key else []
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    return [
        "ssh",
        "-T",
        "-a",
        "-x",
        "-p",
        str(access.port),
        "-l",
        access.user,
        *identity,
        *options,
        str(address),
    ]


async def log_in(access: Access, address: IPv4Address) -> Login:
    """Log in, ask, and return what came of it; raises nothing for a host that is slow, mute or not ours."""
    shown = access.folder / str(address)
    ssh = command(access, address, shown, str(address), trust_machine=False)
    code, said = await _run([*ssh, "exec", "sh", "-s", "--", access.interface], _QUESTION, access.limit_s)
    host_key = _first_key(shown)
    answer = parse(said) if code == 0 else None
    if answer is not None:
        return Login(address, host_key, answer)
    if code is None:
        problem = f"no answer within {access.limit_s:g} s"
    elif code == 0:
        problem = "it runs no shell for us"
    elif "Permission denied" in said:
        problem = REFUSED
    else:
        problem = _HARMFUL.sub("", (said.strip().splitlines() or [f"ssh ended with code {code}"])[-1])[:_LONGEST]
    return Login(address, host_key, None, problem)


async def is_trusted(access: Access, address: IPv4Address, name: str, known_hosts: Path) -> bool:
    """Let ssh itself judge a host key by a copy of known_hosts, which may have markers and patterns."""
    ssh = command(access, address, known_hosts, name, trust_machine=True)
    code, _ = await _run([*ssh, "true"], "", access.limit_s)
    return code == 0


async def _run(words: Sequence[str], text: str, limit_s: float) -> tuple[int | None, str]:
    """Run a program; return its code, None if it took too long, and all that it said."""
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(text.encode()), limit_s)
    except TimeoutError:
        return None, ""
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode, said.decode(errors="replace")


def _first_key(shown: Path) -> str:
    if not shown.exists():
        return ""
    words = shown.read_text(encoding="ascii", errors="replace").split()
    return " ".join(words[1:3])


def parse(said: str) -> Answer | None:
    """Read what the question's answers are; None if they are not there in full."""
    lines = [line.strip() for line in said.replace("\0", "").splitlines()]
    if _BEGIN not in lines or _END not in lines:
        return None
    told: dict[str, str] = {}
    for line in lines[lines.index(_BEGIN) : lines.index(_END)]:
        key, equals, value = line.partition("=")
        if equals:
            told.setdefault(key, value)
    mac, machine_id = told.get("mac", "").lower(), told.get("machine_id", "")
    return Answer(
        name=_harmless(told.get("name", "")).lower().split(".")[0],
        mac=mac if _MAC.fullmatch(mac) else "",
        serial=_harmless(told.get("serial") or told.get("dmi_serial", "")),
        model=_harmless(told.get("model") or told.get("dmi_model", "")),
        machine_id=machine_id if _MACHINE_ID.fullmatch(machine_id) else "",
        arch=_harmless(told.get("arch", "")),
    )


def _harmless(text: str) -> str:
    return _HARMFUL.sub("", text).strip()[:_LONGEST]
