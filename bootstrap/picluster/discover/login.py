"""Log in at an address with the OpenSSH client, query the board, and keep the host key that was presented.

Why the program and not a library: on two cores, with 200 real sshd processes on the same machine, 200 logins take the
program 2.3 s of CPU time (asyncssh 2.24: 0.7 s, paramiko 5.1: 0.8 s) and 4.5 s in total (2.7 s, 3.0 s). That is fast
enough, and only the program reads ~/.ssh/config, uses agents and FIDO keys, and is what Ansible uses.
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
# In parallel; more are not faster (measured with 8, 32 and 200), and each is a process.
LOGINS = 32
_BEGIN, _END = "picluster-node", "picluster-end"
# The interface of the cluster network identifies the board, whatever address was used; a board without an interface of
# this name uses that of the default route. /proc/device-tree is written by the firmware, DMI is for machines that are
# not a Raspberry Pi. The script starts few processes, because in the tests one machine runs it for all boards.
_QUERY = f"""\
report() {{
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
report name /proc/sys/kernel/hostname
report mac "/sys/class/net/$interface/address"
report serial /proc/device-tree/serial-number
report model /proc/device-tree/model
report dmi_serial /sys/class/dmi/id/product_serial
report dmi_model /sys/class/dmi/id/product_name
report machine_id /etc/machine-id
printf '\\narch='
dpkg --print-architecture 2>/dev/null || uname -m
echo {_END}
"""
_MAC = re.compile(r"(?!00:00:00:00:00:00)[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
# Answers go to a terminal and to files that Ansible reads, where {{ }} is code: keep only harmless characters.
_HARMFUL = re.compile(r"[^A-Za-z0-9 ._,:;()+/#@-]")
_LONGEST = 80


@dataclass(frozen=True)
class Access:
    """How to log in.

    The key is None for those that ssh tries by default, ``interface`` that whose MAC address is queried, and ``folder``
    a private directory for the host keys that are presented.
    """

    user: str
    key: Path | None
    port: int
    interface: str
    limit_s: float
    folder: Path


@dataclass(frozen=True)
class Answer:
    """What a board reports about itself; unknown values are empty.

    The name is the first label of its host name, and ``arch`` the architecture as Debian names it.
    """

    name: str
    mac: str
    serial: str
    model: str
    machine_id: str
    arch: str


@dataclass(frozen=True)
class Login:
    """The result of a login.

    The host key is type and base64 text, or "". ``answer`` is None if the login failed, ``problem`` then REFUSED or the
    message of ssh.
    """

    address: IPv4Address
    host_key: str
    answer: Answer | None
    problem: str = ""


def require_client() -> None:
    """Check that the ssh program is installed."""
    if shutil.which("ssh") is None:
        raise PiclusterError("ssh is not installed: it is not in PATH; install the OpenSSH client")


def command(access: Access, address: IPv4Address, known_hosts: Path, alias: str, *, trust_machine: bool) -> list[str]:
    """Return the ssh command up to the remote command; it never prompts, forwards or shares a connection.

    The file known_hosts is read and written, under the name ``alias``; with ``trust_machine`` the global file of this
    machine counts, too.
    """
    settings = {
        "BatchMode": "yes",
        # Longer than the limit of the whole login, which names the reason in the same words wherever a host is silent.
        "ConnectTimeout": str(math.ceil(access.limit_s) + 1),
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": f'"{known_hosts.as_posix()}"',
        **({} if trust_machine else {"GlobalKnownHostsFile": os.devnull}),
        "HostKeyAlias": alias,
        "HashKnownHosts": "no",
        "UpdateHostKeys": "no",
        "VerifyHostKeyDNS": "no",
        # As in the inventory: a sixth of the CPU time of the default key exchange of OpenSSH 9.
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
    return ["ssh", "-T", "-a", "-x", "-p", str(access.port), "-l", access.user, *identity, *options, str(address)]


async def log_in(access: Access, address: IPv4Address) -> Login:
    """Log in and query the host; raise nothing for one that is slow, silent or not a node."""
    shown = access.folder / str(address)
    ssh = command(access, address, shown, str(address), trust_machine=False)
    code, output = await _run([*ssh, "exec", "sh", "-s", "--", access.interface], _QUERY, access.limit_s)
    host_key = _first_key(shown)
    answer = parse(output) if code == 0 else None
    if answer is not None:
        return Login(address, host_key, answer)
    if code is None:
        problem = f"no answer within {access.limit_s:g} s"
    elif code == 0:
        problem = "it does not run a shell"
    elif "Permission denied" in output:
        problem = REFUSED
    else:
        problem = _HARMFUL.sub("", (output.strip().splitlines() or [f"ssh ended with code {code}"])[-1])[:_LONGEST]
    return Login(address, host_key, None, problem)


async def is_trusted(access: Access, address: IPv4Address, name: str, known_hosts: Path) -> bool:
    """Return whether ssh accepts a host key with a copy of known_hosts, which may have markers and patterns."""
    ssh = command(access, address, known_hosts, name, trust_machine=True)
    code, _ = await _run([*ssh, "true"], "", access.limit_s)
    return code == 0


async def _run(words: Sequence[str], text: str, limit_s: float) -> tuple[int | None, str]:
    """Run a program; return its exit code, None after a timeout, and its output."""
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(text.encode()), limit_s)
    except TimeoutError:
        return None, ""
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode, output.decode(errors="replace")


def _first_key(shown: Path) -> str:
    if not shown.exists():
        return ""
    words = shown.read_text(encoding="ascii", errors="replace").split()
    return " ".join(words[1:3])


def parse(output: str) -> Answer | None:
    """Return the answers of the query, None if they are incomplete."""
    lines = [line.strip() for line in output.replace("\0", "").splitlines()]
    if _BEGIN not in lines or _END not in lines:
        return None
    values: dict[str, str] = {}
    for line in lines[lines.index(_BEGIN) : lines.index(_END)]:
        key, equals, value = line.partition("=")
        if equals:
            values.setdefault(key, value)
    mac, machine_id = values.get("mac", "").lower(), values.get("machine_id", "")
    return Answer(
        name=_harmless(values.get("name", "")).lower().split(".")[0],
        mac=mac if _MAC.fullmatch(mac) else "",
        serial=_harmless(values.get("serial") or values.get("dmi_serial", "")),
        model=_harmless(values.get("model") or values.get("dmi_model", "")),
        machine_id=machine_id if _MACHINE_ID.fullmatch(machine_id) else "",
        arch=_harmless(values.get("arch", "")),
    )


def _harmless(text: str) -> str:
    return _HARMFUL.sub("", text).strip()[:_LONGEST]
