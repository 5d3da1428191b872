"""For the tests: a machine with card readers, whose cards are files and change when a user would change them."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from picluster import devices
from picluster.cards.filetarget import ExistingFile
from picluster.cards.target import ALIGNMENT
from picluster.devices import Device

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 64 << 20
# A worn card takes its first bytes, so that it is half-written when it fails.
_WORN_FROM = 8 << 20


class Card(ExistingFile):
    """A card in a reader: a file that takes what a raw disk takes, and no more than it has room for."""

    def __init__(self, path: Path, *, worn: bool = False) -> None:
        super().__init__(path)
        self.capacity = path.stat().st_size
        self._worn = worn

    def write(self, offset: int, data: memoryview) -> None:
        _aligned(offset, len(data))
        if offset + len(data) > (self.capacity or 0):
            raise OSError(errno.ENOSPC, "No space left on device")
        if self._worn and offset >= _WORN_FROM:
            raise OSError(errno.EIO, "Input/output error")
        super().write(offset, data)

    def read(self, offset: int, buffer: memoryview) -> int:
        _aligned(offset, len(buffer))
        return super().read(offset, buffer)


def _aligned(offset: int, length: int) -> None:
    if offset % ALIGNMENT or length % ALIGNMENT:
        raise OSError(errno.EINVAL, f"{offset} or {length} is no multiple of {ALIGNMENT}")


@dataclass
class Machine:
    """Readers whose cards a user changes between two looks.

    Attributes:
        folder: Where the cards' bytes are.
        listed: What is seen now.
        later: What is seen at the looks that come; the last one stays.
        opened: The cards that were opened for writing.
        worn: Paths of the readers whose cards fail while they are written.
        looking: Whether a listing tells of a card that it is blank only if it is, as the real ones do.
    """

    folder: Path
    listed: list[Device]
    later: list[list[Device]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    looks: int = 0
    worn: set[str] = field(default_factory=set)
    looking: bool = False

    def devices(self) -> list[Device]:
        self.looks += 1
        if self.looks > 1 and self.later:
            self.listed = self.later.pop(0)
        if self.looking:
            self.listed = [replace(device, contents=self._contents(device)) for device in self.listed]
        return self.listed

    def _contents(self, device: Device) -> str:
        with self.bytes_of(device).open("rb") as stream:
            return "something" if any(stream.read(128 << 10)) else ""

    def bytes_of(self, device: Device) -> Path:
        path = self.folder / f"{device.path.rpartition('/')[2]}-{device.sequence}"
        if not path.exists():
            with path.open("wb") as stream:
                stream.truncate(device.size)
        return path

    def open(self, device: Device, *, unmount: bool) -> Card:
        devices.same_medium(device, self.listed)
        self.opened.append(device.path)
        return Card(self.bytes_of(device), worn=device.path in self.worn)

    def peek(self, device: Device, offset: int, length: int) -> bytes:
        _aligned(offset, length)
        with self.bytes_of(device).open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)


def reader(path: str, sequence: str, **changes: Any) -> Device:
    plain = Device(path, SIZE, "USB Reader", "0815", True, False, False, (), "", sequence)  # noqa: FBT003 - as listed
    return replace(plain, **changes)
