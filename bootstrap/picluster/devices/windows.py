r"""Disks on Windows: listed by one PowerShell call, opened as \\.\PhysicalDriveN while their volumes are locked."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from picluster.devices import Device, mounted_on, printable, same_medium, winapi
from picluster.devices.asking import looked_at, run
from picluster.devices.raw import RawDisk, explain
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence

    from picluster.cards.target import Target

# PowerShell and its storage module take seconds to load.
_TIMEOUT_S = 60
# By name, or by the number of MSFT_Disk where PowerShell does not translate it.
_CARD_BUSES = frozenset({"USB", "SD", "MMC", 7, 12, 13})
# Explorer and virus scanners hold a volume for moments after it came.
_LOCK_TRIES = 20
_LOCK_PAUSE_S = 0.25
_HINTS = {errno.EACCES: "no right to use it: run this as administrator"}
# Only single quotes: it is one argument of a command line.
SCRIPT = """
$ErrorActionPreference = 'Stop'
[Console]::OutputEncoding = [System.Text.Encoding]::UTF8
$quiet = @{ ErrorAction = 'SilentlyContinue' }
$disks = Get-Disk | Select-Object Number, FriendlyName, SerialNumber, BusType, Size, IsBoot, IsSystem, IsReadOnly,
  PartitionStyle
$parts = Get-Partition @quiet | ForEach-Object {
  $volume = $_ | Get-Volume @quiet
  $_ | Select-Object DiskNumber, PartitionNumber, DriveLetter, AccessPaths, Size,
    @{ n = 'FileSystem'; e = { $volume.FileSystem } }, @{ n = 'Label'; e = { $volume.FileSystemLabel } }
}
$drives = Get-CimInstance Win32_DiskDrive | Select-Object Index, MediaType, Size, Model, SerialNumber, InterfaceType
$pages = Get-CimInstance Win32_PageFileUsage @quiet | Select-Object -ExpandProperty Name
@{ Disks = @($disks); Partitions = @($parts); Drives = @($drives); PageFiles = @($pages);
   SystemDrive = $env:SystemDrive } | ConvertTo-Json -Depth 4
"""


class WindowsCalls(Protocol):
    """Raw disks and volumes by handle, as winapi.Kernel32 has them."""

    def open(self, path: str, *, write: bool, direct: bool) -> int: ...  # noqa: D102 - as there
    def control(self, handle: int, code: int) -> None: ...  # noqa: D102
    def length(self, handle: int) -> int: ...  # noqa: D102
    def write(self, handle: int, offset: int, data: memoryview) -> int: ...  # noqa: D102
    def read(self, handle: int, offset: int, buffer: memoryview) -> int: ...  # noqa: D102
    def flush(self, handle: int) -> None: ...  # noqa: D102
    def close(self, handle: int) -> None: ...  # noqa: D102


def _told(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text.removeprefix("\ufeff"))
        if not isinstance(told["Disks"], list):
            raise TypeError("no list of disks")  # noqa: TRY301 - the same sentence as for no JSON
    except (ValueError, KeyError, TypeError) as error:
        raise PiclusterError(
            f"PowerShell did not answer with a list of disks ({error}): the disks are unknown"
        ) from error
    return dict(told)


def _letter(path: str) -> str:
    return path[:1].upper() if path[1:2] == ":" else ""


def parse(text: str) -> list[Device]:
    """Return the disks in the answer of SCRIPT."""
    told = _told(text)
    drives = {drive.get("Index"): drive for drive in _list(told, "Drives")}
    busy = {_letter(str(page)) for page in _list(told, "PageFiles")} | {_letter(str(told.get("SystemDrive") or ""))}
    listed = {disk["Number"]: disk for disk in _list(told, "Disks") if disk.get("Number") is not None}
    # Get-Disk hides readers without a card.
    empty = {index: {"Number": index, "BusType": drive.get("InterfaceType")} for index, drive in drives.items()}
    devices = []
    for number, disk in sorted({**empty, **listed}.items()):
        parts = [part for part in _list(told, "Partitions") if part.get("DiskNumber") == number]
        device = _device(disk, drives.get(number, {}), parts)
        if busy & {_letter(mount) for mount in device.mounts} - {""}:
            device = replace(device, system=True)
        devices.append(device)
    return devices


def volumes(text: str, path: str) -> list[str]:
    """Return the volumes of a disk as CreateFileW takes them, whether or not they have a letter."""
    found = []
    for part in _list(_told(text), "Partitions"):
        if _path(part.get("DiskNumber")) == path:
            names = [str(name) for name in part.get("AccessPaths") or () if name]
            hidden = [name for name in names if name.startswith("\\\\?\\Volume")]
            lettered = [f"\\\\.\\{name[:2]}" for name in names if _letter(name)]
            found += [name.rstrip("\\") for name in (hidden or lettered)[:1]]
    return found


def _device(disk: Mapping[str, Any], drive: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> Device:
    paths = [str(path) for part in parts for path in part.get("AccessPaths") or () if path]
    told = [printable(f"{part.get('FileSystem') or ''} {part.get('Label') or ''}") or "unknown" for part in parts]
    style = str(disk.get("PartitionStyle") or "RAW")
    if not told and style.upper() != "RAW":
        told = [f"an empty partition table ({printable(style)})"]
    return Device(
        path=_path(disk["Number"]),
        size=int(disk.get("Size") or 0),
        model=printable(str(disk.get("FriendlyName") or drive.get("Model") or "")),
        serial=printable(str(disk.get("SerialNumber") or drive.get("SerialNumber") or "")),
        removable=disk.get("BusType") in _CARD_BUSES or drive.get("MediaType") == "Removable Media",
        system=bool(disk.get("IsBoot") or disk.get("IsSystem")),
        read_only=bool(disk.get("IsReadOnly")),
        mounts=tuple(dict.fromkeys(path for path in paths if not path.startswith("\\\\?\\"))),
        contents=", ".join(told),
        sequence="",
    )


def _list(told: Mapping[str, Any], key: str) -> list[Any]:
    # PowerShell makes an empty pipeline a list with one null.
    return [entry for entry in told.get(key) or () if entry is not None]


def _path(number: object) -> str:
    return f"\\\\.\\PhysicalDrive{number}"


class WindowsHandle:
    """An open raw disk; ``held`` closes it, and then its volumes, which were locked and dismounted until then."""

    def __init__(self, handle: int, held: contextlib.ExitStack, calls: WindowsCalls) -> None:
        self._handle = handle
        self._held = held
        self._calls = calls

    def write_at(self, offset: int, data: memoryview) -> int:
        """Write from the start of the data; return how many bytes were taken."""
        return self._calls.write(self._handle, offset, data)

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Read into the start of the buffer; return how many bytes came, 0 at the end."""
        return self._calls.read(self._handle, offset, buffer)

    def flush(self) -> None:
        """Flush all writes to the medium; an unbuffered handle never reads from a cache."""
        self._calls.flush(self._handle)

    def announce(self) -> None:
        """Let Windows look at the new partition table."""
        with contextlib.suppress(OSError):
            self._calls.control(self._handle, winapi.UPDATE_PROPERTIES)

    def close(self) -> None:
        """Release the disk and its volumes."""
        self._held.close()


class Windows:
    """The disks of this machine, as picluster.devices.Platform says."""

    def __init__(
        self,
        run: Callable[[Sequence[str]], subprocess.CompletedProcess[bytes]] | None = None,
        calls: WindowsCalls | None = None,
        pause: Callable[[], None] = lambda: time.sleep(_LOCK_PAUSE_S),
    ) -> None:
        self._run = run or _run
        self._calls = calls or winapi.Kernel32()
        self._pause = pause

    def devices(self) -> list[Device]:
        """List whole disks, empty readers among them."""
        return looked_at(parse(self._ask()), self.peek)

    def _ask(self) -> str:
        told = self._run(["powershell.exe", "-NoProfile", "-NonInteractive", "-Command", SCRIPT])
        if told.returncode:
            said = re.sub(r"\s+", " ", told.stderr.decode(errors="replace")).strip()
            raise PiclusterError(f"PowerShell cannot list the disks ({said or told.returncode})")
        return told.stdout.decode("utf-8", errors="replace")

    def peek(self, device: Device, offset: int, length: int) -> bytes:
        """Read from it without locking it."""
        buffer = bytearray(max(0, min(length, device.size - offset)))
        try:
            handle = self._calls.open(device.path, write=False, direct=False)
            try:
                return bytes(buffer[: self._calls.read(handle, offset, memoryview(buffer))])
            finally:
                self._calls.close(handle)
        except OSError as error:
            raise explain(error, device.path, _HINTS) from error

    def open(self, device: Device, *, unmount: bool) -> Target:
        """Open it to be overwritten, if a fresh listing shows the very same device and medium."""
        text = self._ask()
        now = same_medium(device, looked_at(parse(text), self.peek))
        if now.mounts and not unmount:
            raise PiclusterError(f"{now.path} is mounted on {mounted_on(now)}: unmount it first")
        try:
            with contextlib.ExitStack() as held:
                for volume in volumes(text, now.path):
                    held.callback(self._calls.close, self._lock(volume, now))
                disk = self._calls.open(now.path, write=True, direct=True)
                held.callback(self._calls.close, disk)
                size = self._calls.length(disk)
                return RawDisk(now.path, size, WindowsHandle(disk, held.pop_all(), self._calls))
        except OSError as error:
            raise explain(error, now.path, _HINTS) from error

    def _lock(self, volume: str, device: Device) -> int:
        """Lock and dismount a volume: Windows refuses to write below one that is in use."""
        handle = self._calls.open(volume, write=True, direct=False)
        try:
            for left in reversed(range(_LOCK_TRIES)):
                try:
                    self._calls.control(handle, winapi.LOCK_VOLUME)
                    break
                except OSError as error:
                    if not left:
                        where = mounted_on(device) or volume
                        raise PiclusterError(
                            f"{device.path} cannot be unmounted: a program has something open on {where}"
                        ) from error
                    self._pause()
            self._calls.control(handle, winapi.DISMOUNT_VOLUME)
        except BaseException:
            self._calls.close(handle)
            raise
        return handle


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return run(command, timeout_s=_TIMEOUT_S, missing="was not found: is this Windows?")
