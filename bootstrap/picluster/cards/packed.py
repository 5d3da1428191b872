"""What a packed image says of itself without being unpacked: whether it is whole, and how many bytes it holds.

Sources: the .xz file format 1.2.1 (tukaani.org), RFC 8878 (zstd), APPNOTE.TXT 6.3.10 (zip), and the end of a stream in
bzip2's compress.c. A .gz says nothing reliable: its size is cut to 32 bits, and any four bytes may be one.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from typing import IO, TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

XZ, GZIP, BZIP2, ZSTD, ZIP = b"\xfd7zXZ\0", b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_XZ_FRAME = 12
_BZIP2_END = 0x177245385090
_ZSTD_SKIPPED = range(0x184D2A50, 0x184D2A60)
_ZIP_LOCAL = struct.Struct("<4s5H3I2H")
# Flag bit 3: checksum and sizes stand behind the data. A size of all ones stands in an extra field (zip64).
_ZIP_BEHIND = 1 << 3
_ZIP64 = 0xFFFFFFFF


class _TornError(Exception):
    """The file is not whole; the message says what shows it."""


def unpacked_size(stream: IO[bytes], magic: bytes, name: str) -> int | None:
    """Return how many bytes an .xz or .zst unpacks to, None if only unpacking tells.

    Refuses an .xz, .zst or .bz2 that is not whole.
    """
    kinds = {XZ: _xz, ZSTD: _zstd, BZIP2: _bzip2}
    look = next((look for start, look in kinds.items() if magic.startswith(start)), None)
    if look is None:
        return None
    try:
        return look(stream, stream.seek(0, os.SEEK_END))
    except _TornError as error:
        raise PiclusterError(f"{name} is damaged or not complete: {error}; fetch it again") from error
    finally:
        stream.seek(0)


def check_member(stream: IO[bytes], archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raise BadZipFile if the directory of a .zip says other things of a member than the member itself."""
    stream.seek(member.header_offset)
    head = stream.read(_ZIP_LOCAL.size)
    if len(head) < _ZIP_LOCAL.size:
        raise zipfile.BadZipFile("its directory names a place behind its end")
    fields = _ZIP_LOCAL.unpack(head)
    end = member.header_offset + _ZIP_LOCAL.size + fields[9] + fields[10] + member.compress_size
    if end > archive.start_dir:
        raise zipfile.BadZipFile("the image in it is cut short")
    said = (member.CRC, member.compress_size, member.file_size)
    if fields[2] & _ZIP_BEHIND:
        stream.seek(end)
        behind = stream.read(24).removeprefix(b"PK\x07\x08")
        same = behind[:20] == struct.pack("<IQQ", *said) or behind[:12] == struct.pack(
            "<III", *(value & _ZIP64 for value in said)
        )
    else:
        same = all(here in (there, _ZIP64) for here, there in zip(fields[6:9], said, strict=True))
    if not same:
        raise zipfile.BadZipFile("its directory and the image in it differ")


def _part(stream: IO[bytes], offset: int, length: int, what: str) -> bytes:
    data = b""
    if offset >= 0:
        stream.seek(offset)
        data = stream.read(length)
    if len(data) < length or offset < 0:
        raise _TornError(f"{what} is missing")
    return data


def _xz(stream: IO[bytes], end: int) -> int:
    """Read the index at the end of each stream, from the last one backwards."""
    total = 0
    while end:
        footer = _part(stream, end - _XZ_FRAME, _XZ_FRAME, "the end of an xz stream")
        # Streams may be padded with zeros, four at a time.
        if not any(footer[-4:]):
            end -= 4
            continue
        checksum, index_words = struct.unpack_from("<II", footer)
        if footer[-2:] != b"YZ" or zlib.crc32(footer[4:10]) != checksum:
            raise _TornError("its last bytes are not the end of an xz stream")
        length = (index_words + 1) * 4
        index = _part(stream, end - _XZ_FRAME - length, length, "the index of an xz stream")
        if index[0] or zlib.crc32(index[:-4]) != struct.unpack("<I", index[-4:])[0]:
            raise _TornError("the index of an xz stream is wrong")
        numbers = _numbers(index[1:-4])
        count = next(numbers)
        blocks = 0
        for _ in range(count):
            blocks += -(-next(numbers) // 4) * 4
            total += next(numbers)
        end -= 2 * _XZ_FRAME + length + blocks
        if _part(stream, end, len(XZ), "the start of an xz stream") != XZ:
            raise _TornError("an xz stream does not begin where its index says")
    return total


def _numbers(data: bytes) -> Iterator[int]:
    """Yield the numbers of an xz index: seven bits a byte, the lowest first."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield value
            value = shift = 0
    raise _TornError("the index of an xz stream is cut short")


def _zstd(stream: IO[bytes], end: int) -> int | None:
    """Follow the blocks of each frame by their headers."""
    total: int | None = 0
    position = 0
    while position < end:
        (magic,) = struct.unpack("<I", _part(stream, position, 4, "the start of a zstd frame"))
        if magic in _ZSTD_SKIPPED:
            (length,) = struct.unpack("<I", _part(stream, position + 4, 4, "the end of a zstd frame"))
            position += 8 + length
            continue
        if magic != int.from_bytes(ZSTD, "little"):
            raise _TornError("a zstd frame does not begin where the one before ends")
        (descriptor,) = _part(stream, position + 4, 1, "the end of a zstd frame")
        single, has_checksum = bool(descriptor & 0x20), bool(descriptor & 0x04)
        size_length = (int(single), 2, 4, 8)[descriptor >> 6]
        offset = position + 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
        size = int.from_bytes(_part(stream, offset, size_length, "the end of a zstd frame"), "little")
        size += 256 if size_length == 2 else 0  # noqa: PLR2004 - RFC 8878: a size of two bytes counts from 256 on
        total = None if total is None or not size_length else total + size
        position = offset + size_length
        last = False
        while not last:
            header = int.from_bytes(_part(stream, position, 3, "the end of a zstd frame"), "little")
            last, kind = bool(header & 1), header >> 1 & 3
            # A block of kind 1 is one byte, repeated.
            position += 3 + (1 if kind == 1 else header >> 3)
        position += 4 * has_checksum
    if position > end:
        raise _TornError("the end of a zstd frame is missing")
    return total


def _bzip2(stream: IO[bytes], end: int) -> None:
    """Look for the mark and the checksum that end a stream, at any bit of the last byte."""
    tail = int.from_bytes(_part(stream, end - 11, 11, "the end of a bzip2 stream"), "big")
    if not any(tail >> 32 + shift & (1 << 48) - 1 == _BZIP2_END for shift in range(8)):
        raise _TornError("its last bytes are not the end of a bzip2 stream")
