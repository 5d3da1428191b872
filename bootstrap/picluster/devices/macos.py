"""Disks on macOS: listed by diskutil, opened as the raw /dev/rdiskN."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import plistlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from xml.parsers.expat import ExpatError

from picluster.devices import Device, mounted_on, printable, same_medium
from picluster.devices.asking import looked_at, run
from picluster.devices.posix import Descriptor
from picluster.devices.raw import RawDisk, explain
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence

    from picluster.cards.target import Target
    from picluster.devices.posix import PosixCalls, PosixControl

# diskutil waits for a reader that is just being plugged in.
_TIMEOUT_S = 30
_SYSTEM = frozenset({"/", "/System/Volumes/Data", "/System/Volumes/VM", "/private/var/vm", "/Users"})
# Their volumes are on a virtual disk, and the listing does not say on which.
_OPAQUE = frozenset({"Apple_CoreStorage", "Apple_RAID"})
# <sys/fcntl.h> and <sys/disk.h>
_F_NOCACHE = 48
_DKIOCSYNCHRONIZECACHE = 0x20006416
# What fsync says of a raw device, which has nothing to bring anywhere.
_NOTHING_TO_SYNC = frozenset({errno.ENOTTY, errno.EINVAL, errno.ENOTSUP})

_NO_RIGHT = (
    "no right to use it: run this with sudo, and give the terminal Full Disk Access"
    " (System Settings, Privacy & Security)"
)
_HINTS = {errno.EACCES: _NO_RIGHT, errno.EPERM: _NO_RIGHT}


@dataclass
class _Disk:
    """What diskutil list says of one whole disk, and of the virtual ones on it."""

    identifier: str
    kinds: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)


def _plist(text: bytes, command: str) -> dict[str, Any]:
    try:
        told = plistlib.loads(text)
    except (plistlib.InvalidFileException, ExpatError, ValueError) as error:
        raise PiclusterError(
            f"{command} did not answer with a property list ({error}): the disks are unknown"
        ) from error
    if not isinstance(told, dict):
        raise PiclusterError(f"{command} answered a {type(told).__name__}: the disks are unknown")
    return told


def whole_disks(listing: bytes) -> list[str]:
    """Return the identifiers of all whole disks in the answer of ``diskutil list -plist``."""
    told = _plist(listing, "diskutil list")
    return [str(entry["DeviceIdentifier"]) for entry in told.get("AllDisksAndPartitions", ())]


def parse(listing: bytes, infos: Mapping[str, bytes]) -> list[Device]:
    """Return the physical disks, and whether the running system is on them through containers.

    The listing is from ``diskutil list -plist``, the infos, by identifier, from ``diskutil info -plist diskN``; a disk
    without one was pulled meanwhile.
    """
    told = _plist(listing, "diskutil list")
    entries = told.get("AllDisksAndPartitions", ())
    disks = {disk.identifier: disk for disk in map(_read, entries)}
    stores = _stores(entries)
    # A Fusion Drive's container lies on two disks.
    for above, below in stores:
        disks[below].mounts += disks[above].mounts
        disks[below].contents += disks[above].contents
    lying = {above for above, _ in stores}
    # Where / cannot be followed down to a disk, none that could hold it is safe.
    lost = not any("/" in disk.mounts for disk in disks.values() if disk.identifier not in lying)
    devices = []
    for disk in disks.values():
        if disk.identifier not in infos:
            continue
        info = _plist(infos[disk.identifier], "diskutil info")
        if info.get("VirtualOrPhysical") == "Virtual" and disk.identifier in lying:
            continue
        devices.append(_device(disk, info, lost=lost))
    return devices


def _device(disk: _Disk, info: Mapping[str, Any], *, lost: bool) -> Device:
    removable = bool(info.get("RemovableMedia") or info.get("Removable")) or info.get("BusProtocol") in {
        "USB",
        "Secure Digital",
    }
    opaque = bool(_OPAQUE & set(disk.kinds)) and (lost or not removable)
    contents = ", ".join(disk.contents)
    if not contents and disk.kinds[0]:
        contents = f"an empty partition table ({disk.kinds[0]})"
    elif not contents:
        contents = printable(f"{info.get('FilesystemType', '')} {info.get('VolumeName', '')}")
    return Device(
        path=f"/dev/{disk.identifier}",
        # Large sizes come as floating-point numbers.
        size=int(info.get("Size", info.get("TotalSize", 0))),
        model=printable(str(info.get("MediaName") or info.get("IORegistryEntryName") or "")),
        # diskutil tells none, and of USB devices only which controller they are at.
        serial="",
        removable=removable and info.get("VirtualOrPhysical") != "Virtual",
        system=bool(_SYSTEM & set(disk.mounts)) or opaque or bool(info.get("SystemImage")),
        read_only=not info.get("WritableMedia", info.get("Writable", False)),
        mounts=tuple(dict.fromkeys(disk.mounts)),
        contents=contents,
        sequence="",
        place=printable(str(info.get("DeviceTreePath") or "")),
    )


def _read(entry: Mapping[str, Any]) -> _Disk:
    disk = _Disk(str(entry["DeviceIdentifier"]), [str(entry.get("Content", ""))])
    for part in (entry, *entry.get("Partitions", ()), *entry.get("APFSVolumes", ())):
        if part.get("MountPoint"):
            disk.mounts.append(str(part["MountPoint"]))
        for snapshot in part.get("MountedSnapshots", ()):
            disk.mounts.append(str(snapshot.get("SnapshotMountPoint", "")))
        if part is not entry:
            disk.kinds.append(str(part.get("Content", "")))
            disk.contents.append(printable(f"{part.get('Content', '')} {part.get('VolumeName', '')}") or "unknown")
    disk.mounts = [mount for mount in disk.mounts if mount]
    return disk


def _stores(entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return which virtual disk lies on which, as far as APFS tells."""
    known = {str(entry["DeviceIdentifier"]) for entry in entries}
    found = []
    for entry in entries:
        for store in entry.get("APFSPhysicalStores", ()):
            # disk0s2 is a part of disk0, and disk0s2s1 a part of that.
            whole = "disk" + str(store.get("DeviceIdentifier", "")).removeprefix("disk").split("s", 1)[0]
            if whole in known:
                found.append((str(entry["DeviceIdentifier"]), whole))
    return found


class MacHandle(Descriptor):
    """An open raw disk, /dev/rdiskN."""

    def __init__(self, fd: int, calls: PosixCalls, control: PosixControl) -> None:
        super().__init__(fd, calls)
        self._control = control

    def flush(self) -> None:
        """Flush all writes to the medium; a raw disk is never read from a cache."""
        try:
            self._calls.fsync(self._fd)
        except OSError as error:
            if error.errno not in _NOTHING_TO_SYNC:
                raise
        # The reader's own cache; many have none.
        with contextlib.suppress(OSError):
            self._control.ioctl(self._fd, _DKIOCSYNCHRONIZECACHE)

    def announce(self) -> None:
        """Do nothing: macOS looks at a disk anew when it is closed."""


class MacOS:
    """The disks of this machine, as picluster.devices.Platform says."""

    def __init__(
        self,
        run: Callable[[Sequence[str]], subprocess.CompletedProcess[bytes]] | None = None,
        calls: PosixCalls | None = None,
        control: PosixControl | None = None,
    ) -> None:
        self._run = run or _run
        self._calls = calls or cast("PosixCalls", os)
        self._control = control or cast("PosixControl", importlib.import_module("fcntl"))

    def devices(self) -> list[Device]:
        """List whole disks. A reader without a card is no disk to macOS: it comes when the card comes."""
        listing = self._run(["diskutil", "list", "-plist"])
        if listing.returncode:
            said = listing.stderr.decode(errors="replace").strip()
            raise PiclusterError(f"diskutil list failed ({said or listing.returncode}): the disks are unknown")
        told = {disk: self._run(["diskutil", "info", "-plist", disk]) for disk in whole_disks(listing.stdout)}
        infos = {disk: info.stdout for disk, info in told.items() if not info.returncode}
        return looked_at(parse(listing.stdout, infos), self.peek)

    def peek(self, device: Device, offset: int, length: int) -> bytes:
        """Read from it without locking it."""
        buffer = bytearray(length)
        try:
            fd = self._calls.open(_raw(device.path), self._calls.O_RDONLY | self._calls.O_CLOEXEC)
            try:
                return bytes(buffer[: self._calls.preadv(fd, [memoryview(buffer)], offset)])
            finally:
                self._calls.close(fd)
        except OSError as error:
            raise explain(error, device.path, _HINTS) from error

    def open(self, device: Device, *, unmount: bool) -> Target:
        """Open it to be overwritten, if a fresh listing shows the very same device and medium."""
        now = same_medium(device, self.devices())
        if now.mounts:
            if not unmount:
                raise PiclusterError(f"{now.path} is mounted on {mounted_on(now)}: unmount it first")
            told = self._run(["diskutil", "unmountDisk", now.path])
            if told.returncode:
                reason = printable((told.stderr or told.stdout).decode(errors="replace"))
                raise PiclusterError(f"{now.path} cannot be unmounted ({reason}): close what uses it")
        try:
            fd = self._calls.open(_raw(now.path), self._calls.O_RDWR | self._calls.O_CLOEXEC)
        except OSError as error:
            raise explain(error, now.path, _HINTS) from error
        # Raw disks are not cached; this also holds for what reads ahead.
        with contextlib.suppress(OSError):
            self._control.fcntl(fd, _F_NOCACHE, 1)
        return RawDisk(now.path, now.size, MacHandle(fd, self._calls, self._control))


def _raw(path: str) -> str:
    return path.replace("/dev/disk", "/dev/rdisk", 1)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return run(command, timeout_s=_TIMEOUT_S, missing="was not found: is this macOS?")
