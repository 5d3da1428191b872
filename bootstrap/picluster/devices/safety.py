"""Which disks may be overwritten: pure decisions on what was listed and what was asked for."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from picluster.devices import human_size, mounted_on
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from picluster.devices import Device

AUTO = "auto"
# What is sold as 256 GB has at most so many bytes (IDEMA LBA1-03); larger is more likely a disk than a card.
LARGEST_CARD = 256_060_514_304


@dataclass(frozen=True)
class LeftOut:
    """A device that was not taken, and why, as half a sentence ("it is mounted on /mnt")."""

    device: Device
    reason: str


@dataclass(frozen=True)
class Selection:
    """What may be overwritten.

    With ``auto`` they were found, not named: then only empty cards are taken, in later rounds too. Only those in
    ``forced``, which --force-device names, may be unmounted.
    """

    devices: tuple[Device, ...]
    auto: bool = False
    forced: frozenset[str] = frozenset()
    left_out: tuple[LeftOut, ...] = ()


def choose(
    wanted: Sequence[str],
    devices: Sequence[Device],
    *,
    forced: Collection[str] = (),
    need: int = 0,
    resolve: Callable[[str], str] | None = None,
) -> Selection:
    """Decide what may be overwritten.

    ``wanted`` are the values of --device: paths, or "auto" alone; ``forced`` are those of --force-device, which lift
    what can be lifted for one device of wanted each.
    """
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    if not wanted:
        raise PiclusterError("no device was named: give --device PATH, or --device auto for all empty cards")
    if AUTO in wanted:
        return _automatic(wanted, devices, forced, need)
    find = _Finder(devices, resolve or os.path.realpath)
    lifted = frozenset(find(name, "--force-device").path for name in forced)
    chosen: list[Device] = []
    for name in wanted:
        device = find(name, "--device")
        if device in chosen:
            raise PiclusterError(f"{name} is {device.path}, which was named already: name each device once")
        why = refusal(device, need=need, forced=device.path in lifted)
        if why:
            # With another remedy than force, that one is named first.
            lift = f"; if you mean it, add --force-device {device.path}" if why == _liftable(device) else ""
            unmount = "; unmount it" if lift and device.mounts else ""
            raise PiclusterError(f"{device.path} is not overwritten: {why}{unmount}{lift}")
        chosen.append(device)
    idle = lifted - {device.path for device in chosen}
    if idle:
        raise PiclusterError(f"--force-device {min(idle)} names no device of --device: give --device {min(idle)} too")
    return Selection(tuple(chosen), forced=lifted)


def _automatic(wanted: Sequence[str], devices: Sequence[Device], forced: Collection[str], need: int) -> Selection:
    if len(wanted) > 1:
        raise PiclusterError("--device auto takes all empty cards: name no other device with it")
    if forced:
        raise PiclusterError("--device auto takes only what is safe: name the device of --force-device with --device")
    whys = [(device, auto_refusal(device, need=need)) for device in devices if not device.aside]
    taken = tuple(device for device, why in whys if not why)
    left_out = tuple(LeftOut(device, why) for device, why in whys if why)
    if not taken:
        told = "; ".join(f"{left.device.path}: {left.reason}" for left in left_out) or "this machine shows no disk"
        raise PiclusterError(f"--device auto found no empty card ({told}): put one in, or name it with --device")
    return Selection(taken, auto=True, left_out=left_out)


def refusal(device: Device, *, need: int = 0, forced: bool = False) -> str:
    """Return why a named device must not be overwritten, as half a sentence; empty if it may.

    What nothing lifts comes first: who is told to force a device should succeed by it.
    """
    return _unliftable(device, need) or ("" if forced else _liftable(device))


def auto_refusal(device: Device, *, need: int = 0) -> str:
    """Return why --device auto leaves a device out; empty if it takes it."""
    why = refusal(device, need=need)
    return why or (f"it holds {device.contents}" if device.contents else "")


def _unliftable(device: Device, need: int) -> str:
    if device.aside:
        return device.aside
    if device.system:
        return "it holds the running system"
    if device.read_only:
        return "it is write-protected (check the lock on the side of the card)"
    if not device.size:
        return "there is no card in it"
    if device.size < need:
        return f"it holds {human_size(device.size)}, and the image needs {human_size(need)}"
    return ""


def _liftable(device: Device) -> str:
    if device.mounts:
        return f"it is mounted on {mounted_on(device)}"
    if not device.removable:
        return "it is neither a card reader nor a USB stick"
    if device.size > LARGEST_CARD:
        return f"it holds {human_size(device.size)}, more than a card (256 GB)"
    return ""


def _folded(path: str) -> str:
    # Only Windows knows one device under spellings of upper and lower case.
    return path.casefold() if path.startswith("\\\\.\\") else path


class _Finder:
    """Finds the device that a name means, links and other spellings resolved."""

    def __init__(self, devices: Sequence[Device], resolve: Callable[[str], str]) -> None:
        self._devices = devices
        self._resolve = resolve

    def __call__(self, name: str, option: str) -> Device:
        if not name:
            raise PiclusterError(f"{option} was given an empty name: name a disk, such as /dev/sdb")
        for spelling in (name, self._spelt(name)):
            for device in self._devices:
                if _folded(device.path) == _folded(spelling):
                    return device
        raise PiclusterError(f"{option} {name}: {self._why(name)}")

    def _spelt(self, name: str) -> str:
        # A Windows device is no path that can be followed.
        if name.startswith("\\\\"):
            return name
        # macOS has each disk twice: buffered, and raw as /dev/rdisk4.
        return re.sub(r"^/dev/rdisk", "/dev/disk", self._resolve(name))

    def _why(self, name: str) -> str:
        spelling = self._spelt(name)
        for device in self._devices:
            rest = spelling.removeprefix(device.path)
            if rest != spelling and re.fullmatch(r"p?\d+|s\d+(s\d+)?", rest):
                return f"this is a part of {device.path}; name the whole device"
            if {name.rstrip("/\\"), spelling} & {mount.rstrip("/\\") for mount in device.mounts}:
                return f"this is where {device.path} is mounted; name the device"
        known = ", ".join(device.path for device in self._devices if not (device.system or device.aside))
        return f"no such disk; picluster found {known or 'no disk that it may write'}"
