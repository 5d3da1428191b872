"""FAT directory entries: names short and long, read and made.

Source of all layouts: Microsoft, "FAT: General Overview of On-Disk Format", version 1.03 (fatgen103), sections "FAT
Directory Structure" and "FAT Long Directory Entries".
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

SLOT = 32
END = 0x00
DELETED = 0xE5
ATTR_VOLUME = 0x08
ATTR_DIRECTORY = 0x10
ATTR_ARCHIVE = 0x20
ATTR_LONG_NAME = 0x0F
_ATTR_MASK = 0x3F
_LAST_LONG = 0x40
_LONG_ORDER = 0x1F
# A first byte of 0xE5 in a name is stored as 0x05, since 0xE5 marks a deleted entry.
_KANJI_E5 = 0x05
# Windows NT and Linux keep "all small letters" of a short name in two bits instead of a long name.
_LOWER_BASE = 0x08
_LOWER_EXTENSION = 0x10
_LONG_CHARS = 13
_LONG_MAX = 255
_SHORT = re.compile(r"([A-Z0-9!#$%&'()@^_`{}~-]{1,8})(?:\.([A-Z0-9!#$%&'()@^_`{}~-]{1,3}))?")
_FORBIDDEN = frozenset('"*/:<>?\\|')
_ENTRY = struct.Struct("<11sBBBHHHHHHHI")


@dataclass(frozen=True)
class DirectoryEntry:
    """One file or directory.

    The name is the long one, or the short one as shown. ``slot`` is the number of the 32-byte slot of the short entry,
    ``raw``, in its directory. The cluster is 0 for an empty file, the size for a directory.
    """

    name: str
    short: bytes
    attributes: int
    cluster: int
    size: int
    slot: int
    raw: bytes

    @property
    def is_directory(self) -> bool:
        """Return whether this is a directory."""
        return bool(self.attributes & ATTR_DIRECTORY)


def entries(table: bytes) -> Iterator[DirectoryEntry]:
    """Read all entries of a directory's bytes; the volume label is one of them (see ATTR_VOLUME)."""
    parts: dict[int, bytes] = {}
    checksum = -1
    for number in range(len(table) // SLOT):
        raw = table[number * SLOT : (number + 1) * SLOT]
        if raw[0] == END:
            return
        if raw[0] == DELETED:
            parts = {}
            continue
        if raw[11] & _ATTR_MASK == ATTR_LONG_NAME:
            if raw[0] & _LAST_LONG:
                parts = {}
                checksum = raw[13]
            if raw[13] == checksum:
                parts[raw[0] & _LONG_ORDER] = raw[1:11] + raw[14:26] + raw[28:32]
            continue
        short, attributes, flags, _, _, _, _, high, _, _, low, size = _ENTRY.unpack(raw)
        # An orphaned long name (left by a program that knows only short ones) must not be taken for this file's.
        long_name = _join(parts) if parts and checksum == _checksum(short) else ""
        name = long_name or _shown(short, flags, volume=bool(attributes & ATTR_VOLUME))
        yield DirectoryEntry(name, short, attributes, high << 16 | low, size, number, raw)
        parts = {}


def _join(parts: dict[int, bytes]) -> str:
    if sorted(parts) != list(range(1, len(parts) + 1)):
        return ""
    text = b"".join(parts[order] for order in sorted(parts)).decode("utf-16-le", errors="replace")
    return text.split("\0", 1)[0]


def _shown(short: bytes, flags: int, *, volume: bool) -> str:
    if short[0] == _KANJI_E5:
        short = b"\xe5" + short[1:]
    if volume:
        return short.decode("cp437").rstrip()
    base = short[:8].decode("cp437").rstrip()
    extension = short[8:].decode("cp437").rstrip()
    if flags & _LOWER_BASE:
        base = base.lower()
    if flags & _LOWER_EXTENSION:
        extension = extension.lower()
    return f"{base}.{extension}" if extension else base


def _checksum(short: bytes) -> int:
    total = 0
    for byte in short:
        total = ((total >> 1) + ((total & 1) << 7) + byte) & 0xFF
    return total


def _alias(name: str, taken: set[bytes]) -> bytes:
    """Return the 11 bytes of a short name that is not taken."""
    match = _SHORT.fullmatch(name.upper())
    if match:
        exact = match[1].ljust(8).encode() + (match[2] or "").ljust(3).encode()
        if exact not in taken:
            return exact
    base, _, extension = name.upper().lstrip(".").rpartition(".")
    if not base:
        base, extension = extension, ""
    base = re.sub(r"[^A-Z0-9!#$%&'()@^_`{}~-]", "_", base.replace(" ", "").replace(".", "")) or "_"
    extension = re.sub(r"[^A-Z0-9!#$%&'()@^_`{}~-]", "_", extension.replace(" ", ""))[:3]
    for number in range(1, 1000000):
        tail = f"~{number}"
        short = (base[: 8 - len(tail)] + tail).ljust(8).encode() + extension.ljust(3).encode()
        if short not in taken:
            return short
    raise PiclusterError(f"no short name is left for {name}")  # pragma: no cover - a million files in one directory


def _dos_time(when: datetime) -> tuple[int, int]:
    """Return date and time as FAT keeps them: from 1980 on, in steps of two seconds."""
    year = min(max(when.year, 1980), 2107)
    return (year - 1980) << 9 | when.month << 5 | when.day, when.hour << 11 | when.minute << 5 | when.second // 2


def new_slots(name: str, taken: set[bytes], *, cluster: int, size: int, when: datetime) -> bytes:
    """Make the slots of a new file: its long name, if the short one does not say it all, then the short entry."""
    if not name or name != name.strip(" .") or len(name) > _LONG_MAX or any(c in _FORBIDDEN or c < " " for c in name):
        raise PiclusterError(f"{name!r} cannot be a file name on a FAT partition")
    short = _alias(name, taken)
    slots = b""
    if _shown(short, 0, volume=False) != name:
        encoded = name.encode("utf-16-le")
        # A name that does not fill its last slot ends in one zero and is padded with ones.
        count = -(-len(encoded) // (2 * _LONG_CHARS))
        if len(encoded) % (2 * _LONG_CHARS):
            encoded = (encoded + b"\0\0").ljust(count * 2 * _LONG_CHARS, b"\xff")
        for order in range(count, 0, -1):
            part = encoded[(order - 1) * 2 * _LONG_CHARS : order * 2 * _LONG_CHARS]
            mark = order | (_LAST_LONG if order == count else 0)
            slots += struct.pack(
                "<B10sBBB12sH4s", mark, part[:10], ATTR_LONG_NAME, 0, _checksum(short), part[10:22], 0, part[22:]
            )
    date, time = _dos_time(when)
    return slots + _ENTRY.pack(
        short, ATTR_ARCHIVE, 0, 0, time, date, date, cluster >> 16, time, date, cluster & 0xFFFF, size
    )


def changed_slot(raw: bytes, *, cluster: int, size: int, when: datetime) -> bytes:
    """Return the short entry with new contents; name, attributes and time of creation stay."""
    short, attributes, *kept = _ENTRY.unpack(raw)[:6]
    date, time = _dos_time(when)
    now = (date, cluster >> 16, time, date, cluster & 0xFFFF, size)
    return _ENTRY.pack(short, attributes | ATTR_ARCHIVE, *kept, *now)
