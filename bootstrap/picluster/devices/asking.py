"""What every system's listing uses: running the system's programs, and reading disks that they do not recognise."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from picluster.devices import Device

# All file systems and partition tables in use leave a mark within this.
_HEAD = 128 << 10
# What a card answers for erased blocks is its maker's choice (SD specification, DATA_STAT_AFTER_ERASE).
_ERASED = (b"\0", b"\xff")


def run(
    command: Sequence[str], *, timeout_s: float, missing: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program of the system; the caller judges its exit code.

    After timeout_s seconds it counts as hanging; ``missing`` is what to say, after its name, where there is no such
    program.
    """
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=timeout_s, env=env)
    except FileNotFoundError as error:
        raise PiclusterError(f"{command[0]} {missing}") from error
    except subprocess.TimeoutExpired as error:
        raise PiclusterError(
            f"{command[0]} did not answer in {timeout_s} seconds: a reader hangs, unplug it and start again"
        ) from error


def looked_at(devices: Sequence[Device], peek: Callable[[Device, int, int], bytes]) -> list[Device]:
    """Return the devices, with contents where a card only seemed empty.

    A system knows nothing of foreign file systems, encrypted media and raw dumps. What cannot be read is not empty
    either: nobody knows what is on it.
    """
    return [
        replace(device, contents=_unknown(device, peek))
        if device.removable and device.size and not device.contents
        else device
        for device in devices
    ]


def _unknown(device: Device, peek: Callable[[Device, int, int], bytes]) -> str:
    try:
        head = peek(device, 0, _HEAD)
    except OSError as error:
        return f"what cannot be read ({error.strerror or error})"
    return "" if head and any(head == value * len(head) for value in _ERASED) else "data of an unknown kind"
