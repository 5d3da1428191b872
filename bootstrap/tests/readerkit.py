"""For the tests: a machine with card readers, whose cards are files and change when a user would change them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from picluster import devices
from picluster.devices import Device
from picluster.filetarget import ExistingFile

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 64 << 20


class Card(ExistingFile):
    """A card in a reader: a file of fixed size."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.capacity = SIZE

    def __enter__(self) -> Self:
        super().__enter__()
        return self


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
                stream.truncate(SIZE)
        return path

    def open(self, device: Device, *, unmount: bool) -> Card:
        devices.same_medium(device, self.listed)
        self.opened.append(device.path)
        return Card(self.bytes_of(device))

    def peek(self, device: Device, offset: int, length: int) -> bytes:
        with self.bytes_of(device).open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)


def reader(path: str, sequence: str, **changes: Any) -> Device:
    plain = Device(path, SIZE, "USB Reader", "0815", True, False, False, (), "", sequence)  # noqa: FBT003 - as listed
    return replace(plain, **changes)
