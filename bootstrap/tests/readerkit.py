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


class Card(ExistingFile):
    """A card in a reader: a file that takes what a raw disk takes, and no more than it has room for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.capacity = path.stat().st_size

    def write(self, offset: int, data: memoryview) -> None:
        _aligned(offset, len(data))
        if offset + len(data) > (self.capacity or 0):
            raise OSError(errno.ENOSPC, "No space left on device")
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
    """

    folder: Path
    listed: list[Device]
    later: list[list[Device]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    looks: int = 0

    def devices(self) -> list[Device]:
        self.looks += 1
        if self.looks > 1 and self.later:
            self.listed = self.later.pop(0)
        return self.listed

    def bytes_of(self, device: Device) -> Path:
        path = self.folder / f"{device.path.rpartition('/')[2]}-{device.sequence}"
        if not path.exists():
            with path.open("wb") as stream:
                stream.truncate(device.size)
        return path

    def open(self, device: Device, *, unmount: bool) -> Card:
        devices.same_medium(device, self.listed)
        self.opened.append(device.path)
        return Card(self.bytes_of(device))

    def peek(self, device: Device, offset: int, length: int) -> bytes:
        _aligned(offset, length)
        with self.bytes_of(device).open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)


def reader(path: str, sequence: str, **changes: Any) -> Device:
    plain = Device(path, SIZE, "USB Reader", "0815", True, False, False, (), "", sequence)  # noqa: FBT003 - as listed
    return replace(plain, **changes)
