"""Read and write a few files in a FAT16 or FAT32 partition inside a big file: no mount, no root, no platform branch.

Why code of our own: pyfatfs 1.1.0 does not see names whose small letters are kept as case bits (mtools and Windows
write ``cmdline.txt`` so), makes a second file of the same name instead, leaves a wrong free count, and needs
pkg_resources, which setuptools no longer ships. ChaN's FatFs (fatfs-ng 0.1.16) is a compiled module, and refuses FAT32
with fewer than 65525 clusters, which mkfs.vfat -F 32 makes of a small boot partition. This module stays small because
it does only what a card needs: read, and create or replace files in directories that exist.

Source of the layouts: Microsoft, fatgen103. That FAT32 is told by a FATSz16 of zero, not by the number of clusters, is
what Linux does (fs/fat/inode.c), and what reads these partitions is Linux and the board's firmware.
"""

from __future__ import annotations

import struct
import sys
from array import array
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, Self

from picluster.cards import fatdir
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FAT12_CLUSTERS = 4085
_FIRST_CLUSTER = 2
_MASK32 = 0x0FFFFFFF
_INFO_LEAD = 0x41615252
_INFO_STRUCT = 0x61417272


class FatVolume:
    """The FAT16 or FAT32 file system of a partition, whose offset and size are in bytes, in an open file.

    The stream must be writable ("r+b") if write() is to be used.
    """

    def __init__(self, stream: BinaryIO, offset: int, size: int) -> None:
        self.stream = stream
        self._offset = offset
        boot = self._pread(0, 512)
        if boot[510:512] != b"\x55\xaa":
            raise PiclusterError("the boot partition holds no FAT file system: the image is damaged")
        self._sector: int
        self._copies: int
        self._sector, per_cluster, reserved, self._copies, root_entries, total = struct.unpack_from("<HBHBHH", boot, 11)
        (fat_sectors,) = struct.unpack_from("<H", boot, 22)
        self._is32 = fat_sectors == 0
        total = total or struct.unpack_from("<I", boot, 32)[0]
        if self._is32:
            fat_sectors, flags, _, self._root, self._info = struct.unpack_from("<IHHIH", boot, 36)
        else:
            flags, self._root, self._info = 0, 0, 0
        root_sectors = -(-root_entries * fatdir.SLOT // self._sector) if self._sector else 0
        data = reserved + self._copies * fat_sectors + root_sectors
        powers = self._sector in (512, 1024, 2048, 4096) and per_cluster and not per_cluster & (per_cluster - 1)
        if not powers or not self._copies or data >= total or total * self._sector > size:
            raise PiclusterError("the FAT file system of the boot partition does not fit it: the image is damaged")
        self._cluster_size: int = per_cluster * self._sector
        self._clusters = (total - data) // per_cluster
        if not self._is32 and self._clusters < _FAT12_CLUSTERS:
            raise PiclusterError("the boot partition is FAT12, which no image of these boards uses")
        self._fat_start = reserved * self._sector
        self._fat_size = fat_sectors * self._sector
        self._root_extent = (self._fat_start + self._copies * self._fat_size, root_sectors * self._sector)
        self._data_start: int = data * self._sector
        # Bit 7: the copies are not kept alike, only the one in bits 0-3 counts.
        self._active = [flags & 0x0F] if flags & 0x80 else list(range(self._copies))
        self._fat = self._load_fat()
        self._next = _FIRST_CLUSTER
        self._free_count: int | None = None
        # Clusters whose entry in the FAT was changed by the write that is going on.
        self._touched: set[int] = set()

    def over(self, stream: BinaryIO) -> Self:
        """Return this volume over another stream with the same bytes; what was read of it is not read again."""
        if self._free_count is None:
            self._free_count = self._count_free()
            free = (at for at in range(self._next, len(self._fat)) if not self._fat[at] & _MASK32)
            self._next = next(free, self._next)
        twin = copy(self)
        twin.stream = stream
        twin._fat, twin._touched = self._fat[:], set()  # noqa: SLF001 - its own class
        return twin

    def _pread(self, position: int, length: int) -> bytes:
        self.stream.seek(self._offset + position)
        data = self.stream.read(length)
        if len(data) < length:
            raise PiclusterError("the boot partition is cut short: the image is damaged")
        return data

    def _pwrite(self, position: int, data: bytes) -> None:
        self.stream.seek(self._offset + position)
        self.stream.write(data)

    def _load_fat(self) -> array[int]:
        fat: array[int] = array("I" if self._is32 else "H")
        length = (self._clusters + _FIRST_CLUSTER) * fat.itemsize
        if length > self._fat_size:
            raise PiclusterError("the FAT is too short for the boot partition: the image is damaged")
        fat.frombytes(self._pread(self._fat_start + self._active[0] * self._fat_size, length))
        if sys.byteorder == "big":
            fat.byteswap()
        return fat

    # Reading

    def _chain(self, cluster: int) -> list[int]:
        chain: list[int] = []
        limit = len(self._fat)
        while _FIRST_CLUSTER <= cluster < limit and len(chain) < limit:
            chain.append(cluster)
            cluster = self._fat[cluster] & _MASK32
        end = 0x0FFFFFF8 if self._is32 else 0xFFF8
        if cluster < end or not chain:
            raise PiclusterError("a file of the boot partition has a broken chain of clusters: the image is damaged")
        return chain

    def _position(self, cluster: int) -> int:
        return self._data_start + (cluster - _FIRST_CLUSTER) * self._cluster_size

    def _runs(self, chain: Iterable[int]) -> Iterator[tuple[int, int]]:
        """Join neighbouring clusters to (position, length)."""
        start = length = 0
        for cluster in chain:
            position = self._position(cluster)
            if length and position == start + length:
                length += self._cluster_size
                continue
            if length:
                yield start, length
            start, length = position, self._cluster_size
        if length:
            yield start, length

    def _extents(self, directory: int) -> list[tuple[int, int]]:
        if directory == 0 and not self._is32:
            return [self._root_extent]
        return list(self._runs(self._chain(directory or self._root)))

    def _entries(self, directory: int) -> list[fatdir.DirectoryEntry]:
        table = b"".join(self._pread(position, length) for position, length in self._extents(directory))
        return list(fatdir.entries(table))

    def _listed(self, directory: int) -> list[fatdir.DirectoryEntry]:
        hidden = (".", "..")
        entries = self._entries(directory)
        return [one for one in entries if not one.attributes & fatdir.ATTR_VOLUME and one.name not in hidden]

    def _contents(self, entry: fatdir.DirectoryEntry) -> Iterator[bytes]:
        left = entry.size
        if left == 0:
            return
        for position, length in self._runs(self._chain(entry.cluster)):
            step = 1 << 20
            for begin in range(0, min(length, left), step):
                yield self._pread(position + begin, min(step, length - begin, left - begin))
            left -= min(left, length)
        if left:
            raise PiclusterError(f"{entry.name} on the boot partition is cut short: the image is damaged")

    def _walk(self, directory: int = 0, above: str = "", depth: int = 0) -> Iterator[tuple[str, fatdir.DirectoryEntry]]:
        if depth > 32:  # noqa: PLR2004 - deeper than any real tree: a directory that contains itself
            raise PiclusterError("a directory of the boot partition contains itself: the image is damaged")
        for entry in self._listed(directory):
            if entry.is_directory:
                yield from self._walk(entry.cluster, f"{above}{entry.name}/", depth + 1)
            else:
                yield above + entry.name, entry

    @property
    def label(self) -> str:
        """The volume label, empty if there is none."""
        for entry in self._entries(0):
            if entry.attributes & fatdir.ATTR_VOLUME and not entry.is_directory:
                return entry.name
        return ""

    def read(self, path: str) -> bytes:
        """Return a file's contents."""
        directory, name = self._parent(path)
        entry = self._find(directory, name)
        if entry is None or entry.is_directory:
            raise PiclusterError(f"there is no file {path} on the boot partition")
        return b"".join(self._contents(entry))

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of every file, by path with / between directories."""
        return {path: entry.size for path, entry in self._walk()}

    def tree(self) -> dict[str, bytes]:
        """Return all files, by path with / between directories."""
        return {path: b"".join(self._contents(entry)) for path, entry in self._walk()}

    def _find(self, directory: int, name: str) -> fatdir.DirectoryEntry | None:
        wanted = name.casefold()
        return next((entry for entry in self._listed(directory) if entry.name.casefold() == wanted), None)

    def _parent(self, path: str) -> tuple[int, str]:
        *above, name = path.split("/")
        directory = 0
        for step in above:
            entry = self._find(directory, step)
            if entry is None or not entry.is_directory:
                raise PiclusterError(f"there is no directory {step} on the boot partition for {path}")
            directory = entry.cluster
        return directory, name

    # Writing

    def write(self, path: str, data: bytes, when: datetime | None = None) -> None:
        """Create or replace a file in a directory that exists. Nothing else on the volume changes.

        Names are compared without regard to case, as FAT does. ``when`` is the time of change as FAT shows it, without
        a time zone; now if None.
        """
        when = when or datetime.now().astimezone()
        directory, name = self._parent(path)
        entry = self._find(directory, name)
        if entry is not None and entry.is_directory:
            raise PiclusterError(f"{path} is a directory on the boot partition")
        fat_before = self._fat[:]
        self._touched.clear()
        try:
            chain = self._allocate(-(-len(data) // self._cluster_size), path)
            first = chain[0] if chain else 0
            if entry is not None:
                self._free(entry.cluster)
                slot = fatdir.changed_slot(entry.raw, cluster=first, size=len(data), when=when)
                place = self._slot_positions(directory)[entry.slot]
                put: list[tuple[int, bytes]] = [(place, slot)]
            else:
                put = self._add(directory, name, first, len(data), when)
        except PiclusterError:
            self._fat, self._free_count = fat_before, None
            raise
        written = 0
        for position, length in self._runs(chain):
            # The slack of the last cluster is zeroed: deleted data must not leak.
            self._pwrite(position, data[written : written + length].ljust(length, b"\0"))
            written += length
        self._flush_fat(fat_before)
        for position, slot in put:
            self._pwrite(position, slot)
        self.stream.flush()

    def _count_free(self) -> int:
        # Counted, not taken from FSInfo, which is only a hint and may be wrong.
        return sum(1 for value in self._fat[_FIRST_CLUSTER:] if not value & _MASK32)

    def _allocate(self, count: int, path: str) -> list[int]:
        if self._free_count is None:
            self._free_count = self._count_free()
        chain: list[int] = []
        limit = len(self._fat)
        cluster = self._next
        for _ in range(limit):
            if len(chain) == count:
                break
            if cluster >= limit:
                cluster = _FIRST_CLUSTER
            if self._fat[cluster] & _MASK32 == 0:
                chain.append(cluster)
            cluster += 1
        if len(chain) < count:
            raise PiclusterError(f"the boot partition is full: no room for {path}")
        for here, there in zip(chain, [*chain[1:], _MASK32 if self._is32 else 0xFFFF], strict=False):
            self._set(here, there)
        self._free_count -= count
        self._next = cluster
        return chain

    def _set(self, cluster: int, value: int) -> None:
        # The upper four bits of a FAT32 entry are reserved and must be kept.
        self._touched.add(cluster)
        self._fat[cluster] = (self._fat[cluster] & ~_MASK32 & 0xFFFFFFFF | value) if self._is32 else value

    def _free(self, cluster: int) -> None:
        chain = self._chain(cluster) if cluster else []
        for used in chain:
            self._set(used, 0)
        self._free_count = (self._free_count or 0) + len(chain)

    def _slot_positions(self, directory: int) -> list[int]:
        return [
            position + begin for position, length in self._extents(directory) for begin in range(0, length, fatdir.SLOT)
        ]

    def _add(self, directory: int, name: str, cluster: int, size: int, when: datetime) -> list[tuple[int, bytes]]:
        taken = {entry.short for entry in self._entries(directory)}
        slots = fatdir.new_slots(name, taken, cluster=cluster, size=size, when=when)
        needed = len(slots) // fatdir.SLOT
        positions = self._slot_positions(directory)
        first = [self._pread(position, 1)[0] for position in positions]
        # All after an end mark is free, whatever its bytes say.
        used = first.index(fatdir.END) if fatdir.END in first else len(first)
        free = [number >= used or byte == fatdir.DELETED for number, byte in enumerate(first)]
        run = 0
        for number, is_free in enumerate(free):
            run = run + 1 if is_free else 0
            if run == needed:
                begin = number - needed + 1
                break
        else:
            begin = len(positions) - run
            positions += self._grow(directory, needed - run, name)
        put = [
            (positions[begin + number], slots[number * fatdir.SLOT : (number + 1) * fatdir.SLOT])
            for number in range(needed)
        ]
        after = begin + needed
        if begin <= used < after < len(positions):
            # The end mark was overwritten: what lies behind it may be old bytes, so it is set anew.
            put.append((positions[after], bytes(fatdir.SLOT)))
        return put

    def _grow(self, directory: int, slots: int, name: str) -> list[int]:
        if directory == 0 and not self._is32:
            raise PiclusterError(f"the top directory of the boot partition is full: no room for {name}")
        last = self._chain(directory or self._root)[-1]
        count = -(-slots * fatdir.SLOT // self._cluster_size)
        chain = self._allocate(count, name)
        self._set(last, chain[0])
        for cluster in chain:
            self._pwrite(self._position(cluster), bytes(self._cluster_size))
        return [
            self._position(cluster) + begin for cluster in chain for begin in range(0, self._cluster_size, fatdir.SLOT)
        ]

    def _flush_fat(self, before: array[int]) -> None:
        """Write the sectors of the FAT that changed, to every copy, and the free count."""
        step = self._sector // self._fat.itemsize
        for begin in sorted({cluster // step * step for cluster in self._touched}):
            now = self._fat[begin : begin + step]
            if now == before[begin : begin + step]:
                continue
            if sys.byteorder == "big":
                now.byteswap()
            for number in self._active:
                self._pwrite(self._fat_start + number * self._fat_size + begin * self._fat.itemsize, now.tobytes())
        if not self._is32 or self._info in (0, 0xFFFF):
            return
        position = self._info * self._sector
        info = self._pread(position, 512)
        lead, inner = struct.unpack_from("<I", info)[0], struct.unpack_from("<I", info, 484)[0]
        if (lead, inner) == (_INFO_LEAD, _INFO_STRUCT):
            hint = self._next if self._next < len(self._fat) else _FIRST_CLUSTER
            self._pwrite(position + 488, struct.pack("<II", self._free_count or 0, hint))
