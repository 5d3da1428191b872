"""A card's own changes to an image, kept apart from it: made in memory, written and compared as whole blocks."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from picluster.cards.target import ALIGNMENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from picluster.cards.fat import FatVolume


@dataclass(frozen=True)
class Patch:
    """One stretch of a card that differs from the image.

    Offset and length are multiples of ALIGNMENT; ``new`` is what the card holds there, ``stock`` what the image does.
    """

    offset: int
    new: bytes
    stock: bytes

    @property
    def end(self) -> int:
        """Byte after its last."""
        return self.offset + len(self.new)

    def blocks(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (offset, new, stock) of each block of ALIGNMENT bytes."""
        for at in range(0, len(self.new), ALIGNMENT):
            yield self.offset + at, self.new[at : at + ALIGNMENT], self.stock[at : at + ALIGNMENT]


class _Overlay(io.RawIOBase):
    """Reads through to the image; writes stay here, block by block."""

    def __init__(self, below: BinaryIO) -> None:
        super().__init__()
        self._below = below
        self._position = 0
        self.blocks: dict[int, bytearray] = {}

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the start")
        self._position = offset
        return offset

    def stock(self, offset: int, length: int) -> bytes:
        """Return the image's bytes; past its end they are zeros."""
        self._below.seek(offset)
        return self._below.read(length).ljust(length, b"\0")

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise io.UnsupportedOperation("an overlay is read in pieces")
        begin, end = self._position, self._position + size
        data = bytearray(self.stock(begin, size))
        for number in self._touched(begin, end):
            block = self.blocks.get(number)
            if block is None:
                continue
            low, high = max(begin, number * ALIGNMENT), min(end, (number + 1) * ALIGNMENT)
            data[low - begin : high - begin] = block[low - number * ALIGNMENT : high - number * ALIGNMENT]
        self._position = end
        return bytes(data)

    def _touched(self, begin: int, end: int) -> range | list[int]:
        blocks = range(begin // ALIGNMENT, -(-end // ALIGNMENT))
        # A big file is read in stretches of far more blocks than were ever written.
        return blocks if len(blocks) < len(self.blocks) else [number for number in self.blocks if number in blocks]

    def write(self, data: bytes, /) -> int:  # type: ignore[override] # the file system writes nothing but bytes
        begin, end = self._position, self._position + len(data)
        for number in range(begin // ALIGNMENT, -(-end // ALIGNMENT)):
            if number not in self.blocks:
                self.blocks[number] = bytearray(self.stock(number * ALIGNMENT, ALIGNMENT))
            low, high = max(begin, number * ALIGNMENT), min(end, (number + 1) * ALIGNMENT)
            self.blocks[number][low - number * ALIGNMENT : high - number * ALIGNMENT] = data[low - begin : high - begin]
        self._position = end
        return len(data)


def patches(boot: FatVolume, files: Mapping[str, bytes]) -> tuple[Patch, ...]:
    """Return what changes on a card when these files are written to its stock boot partition, without writing.

    All blocks that were written are returned, in order, neighbours joined; also those that come out as they were,
    because a block map may leave them out.
    """
    overlay = _Overlay(boot.stream)
    volume = boot.over(cast("BinaryIO", overlay))
    for path, data in files.items():
        volume.write(path, data)
    made: list[Patch] = []
    for number in sorted(overlay.blocks):
        new, stock = bytes(overlay.blocks[number]), overlay.stock(number * ALIGNMENT, ALIGNMENT)
        if made and made[-1].end == number * ALIGNMENT:
            last = made.pop()
            made.append(Patch(last.offset, last.new + new, last.stock + stock))
        else:
            made.append(Patch(number * ALIGNMENT, new, stock))
    return tuple(made)
