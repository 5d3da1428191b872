"""What a packed file says of itself: whole ones tell their size, torn ones are refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from cardkit import noise

from picluster.cards import packed
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = noise(3, 300_000) + bytes(200_000)


def _zstd(data: bytes, *, size: bool = True, **options: Any) -> bytes:
    packer = zstandard.ZstdCompressor(write_content_size=size, **options)
    if size:
        return packer.compress(data)
    stream = packer.compressobj()
    return stream.compress(data) + stream.flush()


# What is packed, and the size that can be told without unpacking.
WHOLE: dict[str, tuple[bytes, int | None]] = {
    "xz": (lzma.compress(DATA, preset=0), len(DATA)),
    "xz of nothing": (lzma.compress(b""), 0),
    "xz without checksums": (lzma.compress(DATA, check=lzma.CHECK_NONE, preset=0), len(DATA)),
    "xz, two streams": (lzma.compress(DATA, preset=0) + lzma.compress(DATA[:5]), len(DATA) + 5),
    "xz, padded": (lzma.compress(DATA, preset=0) + bytes(8) + lzma.compress(b"x") + bytes(4), len(DATA) + 1),
    "zstd": (_zstd(DATA), len(DATA)),
    "zstd with a checksum": (_zstd(DATA, write_checksum=True), len(DATA)),
    "zstd of 300 bytes": (_zstd(DATA[:300]), 300),
    "zstd of 70,000 zeros": (_zstd(bytes(70_000)), 70_000),
    "zstd, two frames and one to skip": (
        _zstd(DATA) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + _zstd(DATA[:9], write_checksum=True),
        len(DATA) + 9,
    ),
    "zstd from a pipe": (_zstd(DATA, size=False), None),
    "zstd, two frames, one from a pipe": (_zstd(DATA) + _zstd(DATA, size=False), None),
    "bzip2": (bz2.compress(DATA), None),
    "gzip": (gzip.compress(DATA), None),
}


@pytest.mark.parametrize(("data", "size"), WHOLE.values(), ids=WHOLE)
def test_a_whole_file_tells_its_size(data: bytes, size: int | None) -> None:
    stream = io.BytesIO(data)
    assert packed.unpacked_size(stream, data[:6], "card.img.x") == size
    assert stream.tell() == 0


# A .gz cannot be judged.
TORN = [what for what in WHOLE if what != "gzip"]


# Four bytes of padding are no loss.
LOST = [(what, lost) for what in TORN for lost in (1, 2, 3, 4, 5, 11, 12, 13) if (what, lost) != ("xz, padded", 4)]


@pytest.mark.parametrize(("what", "lost"), LOST)
def test_a_file_without_its_last_bytes_is_refused(what: str, lost: int) -> None:
    data = WHOLE[what][0]
    with pytest.raises(PiclusterError, match=r"card\.img\.x is damaged or not complete: .*; fetch it again"):
        packed.unpacked_size(io.BytesIO(data[:-lost]), data[:6], "card.img.x")


@pytest.mark.parametrize("what", [what for what in TORN if "of nothing" not in what])
def test_half_a_file_is_refused(what: str) -> None:
    data = WHOLE[what][0]
    with pytest.raises(PiclusterError, match="fetch it again"):
        packed.unpacked_size(io.BytesIO(data[: len(data) // 2 + 1]), data[:6], "card.img.x")


def test_every_changed_byte_at_the_end_of_an_xz_is_noticed() -> None:
    data = WHOLE["xz"][0]
    # The footer has 12 bytes, the index before it 4 for its checksum.
    for at in range(len(data) - 16, len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x10
        with pytest.raises(PiclusterError, match="fetch it again"):
            packed.unpacked_size(io.BytesIO(bytes(broken)), data[:6], "card.img.xz")


class _Pipe(io.BytesIO):
    """What zipfile writes to a pipe has its sizes behind the data."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise OSError


def _zip(make: Callable[[], io.BytesIO] = io.BytesIO) -> bytes:
    stream = make()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "x")
        archive.writestr("card.img", DATA)
    return stream.getvalue()


def _check(data: bytes) -> None:
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream) as archive:
        packed.check_member(stream, archive, archive.getinfo("card.img"))


@pytest.mark.parametrize("make", [io.BytesIO, _Pipe])
def test_a_zip_agrees_with_itself(make: Callable[[], io.BytesIO]) -> None:
    _check(_zip(make))


# Of the entry in the directory: checksum, packed size, size, and where the image begins.
DIRECTORY = {"checksum": 16, "packed size": 20, "size": 24, "place": 42}


@pytest.mark.parametrize("make", [io.BytesIO, _Pipe])
@pytest.mark.parametrize("field", DIRECTORY)
def test_a_zip_with_a_wrong_directory_is_refused(make: Callable[[], io.BytesIO], field: str) -> None:
    data = bytearray(_zip(make))
    at = data.rindex(b"PK\x01\x02") + DIRECTORY[field]
    for changed in (data[at] ^ 1, data[at] ^ 0x80):
        broken = data[:at] + bytes([changed]) + data[at + 1 :]
        with pytest.raises(zipfile.BadZipFile):
            _check(bytes(broken))
    # Behind the end of the file, or of the image.
    with pytest.raises(zipfile.BadZipFile):
        _check(bytes(data[: at + 2] + b"\x7f" + data[at + 3 :]))
