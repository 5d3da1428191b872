"""Prepare cards that another tool wrote: on a raw disk, in an image file, or in a mounted boot folder."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, cast

from picluster.cards import mbr, overlay, verify
from picluster.cards.bootfiles import BootFiles
from picluster.cards.fat import FatVolume
from picluster.cards.image import PACKED
from picluster.cards.source import aligned
from picluster.cards.target import ALIGNMENT
from picluster.errors import PiclusterError
from picluster.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from picluster.cards.target import Medium

# A whole FAT of a large boot partition comes with one read.
_READ = 1 << 20


class _TargetStream(io.RawIOBase):
    """A medium that is read in whole blocks, as a file of any bytes."""

    def __init__(self, medium: Medium) -> None:
        super().__init__()
        self._medium = medium
        self._position = 0
        self._begin = 0
        self._buffer = aligned(_READ)
        self._filled = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the start")
        self._position = offset
        return offset

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise io.UnsupportedOperation("a disk is read in pieces")
        data = bytearray()
        while len(data) < size:
            at = self._position - self._begin
            if not 0 <= at < self._filled:
                self._begin = self._position // ALIGNMENT * ALIGNMENT
                self._filled = self._medium.read(self._begin, self._buffer)
                at = self._position - self._begin
                if at >= self._filled:
                    break
            part = bytes(self._buffer[at : min(self._filled, at + size - len(data))])
            data += part
            self._position += len(part)
        return bytes(data)


class ExistingCard:
    """A card or image file that holds a system, open for reading and writing; one that is not whole is refused."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._stream = cast("BinaryIO", _TargetStream(medium))
        self._stream.seek(0)
        first = self._stream.read(mbr.SECTOR)
        if first.startswith(PACKED):
            raise PiclusterError(f"{medium.name} is packed: unpack it first, or burn it with picluster burn")
        table = mbr.parse(first, medium.name)
        _check_whole(medium, self._stream, table.end)
        self._volume = FatVolume(self._stream, table.boot.offset, table.boot.size)
        self.boot_files = BootFiles.of_volume(self._volume)

    def patches(self, files: Mapping[str, bytes]) -> tuple[overlay.Patch, ...]:
        """Return what would change, without writing."""
        return overlay.patches(self._volume, files)

    def write(self, patches: tuple[overlay.Patch, ...]) -> None:
        """Write what patches() worked out, and read it back; raise PiclusterError if it reads back differently."""
        # Files first, then the tables that name them: they come first on the medium.
        for patch in reversed(patches):
            view = aligned(len(patch.new))
            view[:] = patch.new
            self._medium.write(patch.offset, view)
        self._medium.sync()
        for patch in patches:
            verify.data(self._medium, patch.offset, patch.new)


def _check_whole(medium: Medium, stream: BinaryIO, end: int) -> None:
    """Refuse what ends before its last partition: it was cut off, or written to a card that is too small."""
    if medium.capacity is None:
        stream.seek(end - 1)
        whole = bool(stream.read(1))
    else:
        whole = medium.capacity >= end
    if not whole:
        raise PiclusterError(f"{medium.name} is cut short: its partitions need {end} bytes; write it again")


def write_to_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write to a mounted boot partition, each file whole or not at all; OSError if it is full or write-protected."""
    for path, data in files.items():
        write_atomically(folder / path, data)
