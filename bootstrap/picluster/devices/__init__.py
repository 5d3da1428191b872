"""The disks of this machine: which exist, which may be overwritten, and how they are opened.

One module for each system lists its disks and opens them (linux, macos, windows); host chooses among them. safety
decides which disks may be overwritten; rounds continues with the next cards where there are more nodes than readers.
Only host looks at sys.platform, so every other module can be checked and tested on any system.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from picluster.cards.target import Target


@dataclass(frozen=True)
class Device:
    r"""A whole disk, or a card reader's slot.

    Attributes:
        path: What the user types: /dev/sdb, /dev/disk4, \\.\PhysicalDrive3.
        size: Bytes; 0 is a reader without a card.
        model: For people, without control and direction characters.
        serial: Empty if the device tells none. A card reader tells its own, not the card's.
        removable: A card in a reader, or a USB stick.
        system: It holds the running system or its swap, through any layers, or the system itself says so.
        contents: Empty if there is neither a partition table nor a file system; else for people ("vfat bootfs").
        sequence: Changes when another medium is put in; empty if the system does not tell.
        place: What it is plugged into, where the system tells that instead of a serial; others may be there too.
        aside: Why it is not listed as a disk, as half a sentence: it is here so that its name can be refused.
    """

    path: str
    size: int
    model: str
    serial: str
    removable: bool
    system: bool
    read_only: bool
    mounts: tuple[str, ...]
    contents: str
    sequence: str
    place: str = ""
    aside: str = ""


class Platform(Protocol):
    """What this machine can do with disks."""

    def devices(self) -> list[Device]:
        """List whole disks, empty readers among them."""
        ...

    def peek(self, device: Device, offset: int, length: int) -> bytes:
        """Read from it without locking it: to see whose card was put in.

        Offset and length are multiples of picluster.cards.target.ALIGNMENT; fewer bytes come at the end. An OSError
        says, in a sentence, that it cannot be read (yet).
        """
        ...

    def open(self, device: Device, *, unmount: bool) -> Target:
        """Open it to be overwritten, if a fresh listing shows the very same device and medium.

        Refuses another medium, the running system, and what is mounted, unless ``unmount`` says to unmount it. An
        OSError of the system is a sentence, too.
        """
        ...


def printable(text: str) -> str:
    """Return what a device says of itself fit for a terminal: no control or direction characters, single blanks."""
    kept = (" " if character.isspace() else character for character in text)
    # Cc, Cf (direction and zero width), Co, Cs, Cn: nothing that shows as a letter.
    return " ".join("".join(letter for letter in kept if unicodedata.category(letter)[0] != "C").split())


def mounted_on(device: Device) -> str:
    """Return where it is mounted, for people: who formats a card names its mount point too."""
    return ", ".join(printable(point) for point in device.mounts)


def same_medium(device: Device, listed: list[Device], *, unmounted: bool = False) -> Device:
    """Return the device as it is now, if it still is what was chosen and may be written to.

    With ``unmounted`` we unmounted it since: what only its mounts told of it is not told any more.
    """
    now = next((other for other in listed if other.path == device.path), None)
    if now is None:
        raise PiclusterError(f"{device.path} is gone: plug it in again and start again")
    if not now.size:
        raise PiclusterError(f"there is no card in {device.path} any more: put it in again and start again")
    if identity(now) != identity(device):
        raise PiclusterError(
            f"another card is in {device.path} now ({described(now)}; chosen was {described(device)}): start again"
        )
    if now.system:
        raise PiclusterError(f"{device.path} holds the running system: it is never overwritten")
    if now.read_only:
        raise PiclusterError(f"{device.path} is write-protected: check the lock on the side of the card")
    # Where the system numbers no media, only this tells a card from another of its make.
    if now.contents != device.contents and not unmounted:
        raise PiclusterError(
            f"{device.path} holds {now.contents or 'nothing'} now, and held {device.contents or 'nothing'} when it was"
            " chosen: start again"
        )
    return now


def identity(device: Device) -> tuple[str, str, int, str, str]:
    """Return what tells one medium from another, as far as the system tells it."""
    return device.serial, device.model, device.size, device.sequence, device.place


def described(device: Device) -> str:
    """Return size, model and serial for people."""
    words = [human_size(device.size), device.model or "unknown model"]
    return ", ".join([*words, f"serial {device.serial}"] if device.serial else words)


def human_size(size: int) -> str:
    """Return bytes as they are printed on cards: decimal, one digit after the point."""
    amount, units = float(size), iter(("bytes", "kB", "MB", "GB", "TB", "PB"))
    unit = next(units)
    while amount >= 999.95 and unit != "PB":  # noqa: PLR2004 - what would be shown as 1000.0
        amount, unit = amount / 1000, next(units)
    return f"{size} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
