"""The partition table of a card image: where the FAT boot partition is."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from picluster.cards.target import ALIGNMENT
from picluster.errors import PiclusterError

SECTOR = 512
_TABLE = 446
_ENTRY = 16
_SIGNATURE = b"\x55\xaa"
# FAT32 CHS, FAT32 LBA, FAT16 LBA, FAT16: what card images use for the partition that the firmware reads.
_FAT_TYPES = frozenset({0x0B, 0x0C, 0x0E, 0x06})
_GPT_PROTECTIVE = 0xEE


@dataclass(frozen=True)
class Partition:
    """A stretch of an image, in bytes."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """Byte after the last one."""
        return self.offset + self.size


@dataclass(frozen=True)
class PartitionTable:
    """What an image's MBR says: the first FAT partition, and the byte after the last partition."""

    boot: Partition
    end: int


def parse(sector: bytes, name: str) -> PartitionTable:
    """Read a master boot record, the first 512 bytes of the image; ``name`` is the image's, for errors."""
    if len(sector) < SECTOR or sector[510:512] != _SIGNATURE:
        raise PiclusterError(f"{name} is not a card image: it has no partition table (MBR) in its first 512 bytes")
    # The first block is written apart from all others, so the partition begins behind it.
    boot: Partition | None = None
    end = 0
    for number in range(4):
        entry = sector[_TABLE + number * _ENTRY : _TABLE + (number + 1) * _ENTRY]
        kind = entry[4]
        start, count = struct.unpack_from("<II", entry, 8)
        if kind == 0 or count == 0:
            continue
        if kind == _GPT_PROTECTIVE:
            raise PiclusterError(f"{name} has a GPT: card images for these boards have an MBR")
        end = max(end, (start + count) * SECTOR)
        if boot is None and kind in _FAT_TYPES and start * SECTOR >= ALIGNMENT:
            boot = Partition(start * SECTOR, count * SECTOR)
    if boot is None:
        raise PiclusterError(f"{name} has no FAT boot partition: it is not the image of a Raspberry Pi system")
    return PartitionTable(boot, end)
