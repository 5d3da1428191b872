from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from typing import TYPE_CHECKING

import pytest
import zstandard
from cardkit import BOOT_START, PARTITION, ROOT_SIZE, STOCK, mbr, noise

from picluster.cards.image import Image, open_image
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _zip(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "x")
        archive.writestr("card.img", data)


PACKINGS: dict[str, Callable[[Path, bytes], object]] = {
    "plain": lambda path, data: path.write_bytes(data),
    "xz": lambda path, data: path.write_bytes(lzma.compress(data, preset=0)),
    "xz-two-streams": lambda path, data: path.write_bytes(
        lzma.compress(data[:7_000_001], preset=0) + lzma.compress(data[7_000_001:], preset=0)
    ),
    "gz": lambda path, data: path.write_bytes(gzip.compress(data, 1)),
    "bz2": lambda path, data: path.write_bytes(bz2.compress(data, 9)),
    # With a checksum, as the program zstd writes it.
    "zst": lambda path, data: path.write_bytes(zstandard.ZstdCompressor(1, write_checksum=True).compress(data)),
    "zip": _zip,
}


def _read(image: Image) -> bytes:
    image.start()
    data = bytearray()
    buffer = memoryview(bytearray(5_000_000))
    while count := image.read_into(buffer):
        data += buffer[:count]
        if count < len(buffer):
            break
    return bytes(data)


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_gives_the_same_bytes_whatever_it_is_called(
    make_card: Callable[..., Path], tmp_path: Path, packing: str
) -> None:
    wanted = make_card().read_bytes()
    packed = tmp_path / "image-of-a-card"
    PACKINGS[packing](packed, wanted)
    with open_image(packed) as image:
        assert (image.boot.offset, image.boot.size) == (BOOT_START, PARTITION)
        assert image.boot_files().text("cmdline.txt").encode() == STOCK["cmdline.txt"]
        assert _read(image) == wanted


@pytest.mark.parametrize("packing", [name for name in PACKINGS if name != "plain"])
@pytest.mark.parametrize("part", [3, 1.02])
def test_a_broken_download_ends_in_a_sentence(
    make_card: Callable[..., Path], tmp_path: Path, packing: str, part: float
) -> None:
    path = tmp_path / "broken.img"
    PACKINGS[packing](path, make_card().read_bytes())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size / part)])
    with pytest.raises(PiclusterError, match=r"damaged|cut short") as caught, open_image(path) as image:
        _read(image)
    assert "broken.img" in str(caught.value)


@pytest.mark.parametrize("packing", [name for name in PACKINGS if name != "plain"])
def test_a_flipped_stretch_ends_in_a_sentence(make_card: Callable[..., Path], tmp_path: Path, packing: str) -> None:
    path = tmp_path / "flipped.img"
    PACKINGS[packing](path, make_card().read_bytes())
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 64)
    data[middle] = bytes(255 - byte for byte in data[middle])
    path.write_bytes(data)
    with pytest.raises(PiclusterError, match=r"damaged|differ|cannot be") as caught, open_image(path) as image:
        _read(image)
    assert "flipped.img" in str(caught.value)


def test_the_shadow_files_of_macos_do_not_count(make_card: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "finder.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("card.img", make_card().read_bytes())
        archive.writestr("__MACOSX/._card.img", b"shadow")
    with open_image(path) as image:
        assert image.boot.offset == BOOT_START


@pytest.mark.parametrize(
    ("offset", "says"),
    [
        # Of the one entry in the directory at the end: the version it needs, and its name, flagged as UTF-8.
        (6, "cannot be unpacked here: zip file version"),
        (46, "is damaged: 'utf-8' codec"),
        (47, "is damaged: File name in directory"),
    ],
)
def test_a_zip_with_a_broken_directory_ends_in_a_sentence(
    make_card: Callable[..., Path], tmp_path: Path, offset: int, says: str
) -> None:
    path = tmp_path / "broken.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\u00e4card.img", make_card().read_bytes())
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + offset] = 0xBF
    path.write_bytes(data)
    with pytest.raises(PiclusterError, match=f"broken.zip .*{says}"), open_image(path):
        pass


def test_a_plain_image_that_is_cut_short_is_refused_before_it_is_read(
    make_card: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "short.img"
    path.write_bytes(make_card().read_bytes()[: BOOT_START + PARTITION + ROOT_SIZE - 1])
    with pytest.raises(PiclusterError, match="cut short"), open_image(path):
        pass


NO_CARD = {
    "empty": b"",
    "text": b"<html>404 Not Found</html>" * 100,
    "no FAT": mbr((0x83, 1 << 20, 1 << 20)).ljust(3 << 20, b"\0"),
    "no partition": mbr().ljust(1 << 20, b"\0"),
    "gpt": mbr((0xEE, 512, 1 << 20)).ljust(3 << 20, b"\0"),
    "noise": noise(9, 2 << 20),
    "packed text": lzma.compress(b"hello" * 1000),
}


@pytest.mark.parametrize("what", NO_CARD)
def test_what_is_no_card_image_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "thing"
    path.write_bytes(NO_CARD[what])
    with pytest.raises(PiclusterError) as caught, open_image(path):
        pass
    assert "thing" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_partition_table_whose_boot_partition_holds_no_fat_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.img"
    path.write_bytes(mbr((0x0C, 1 << 20, 1 << 20)).ljust(3 << 20, b"\0"))
    with pytest.raises(PiclusterError, match="no FAT file system"), open_image(path) as image:
        image.boot_files()


@pytest.mark.parametrize("kind", [0x0B, 0x0C, 0x0E, 0x06])
def test_all_fat_partition_types_are_found(make_card: Callable[..., Path], kind: int) -> None:
    with open_image(make_card(kind=kind)) as image:
        assert "user-data" in image.boot_files().names


def test_the_suffix_of_an_image_may_be_left_out(make_card: Callable[..., Path], tmp_path: Path) -> None:
    make_card("2018-06-27-raspbian-stretch.img")
    with open_image(tmp_path / "2018-06-27-raspbian-stretch") as image:
        assert image.path.name == "2018-06-27-raspbian-stretch.img"
    with pytest.raises(PiclusterError, match="there is no file"), open_image(tmp_path / "2018"):
        pass
    with pytest.raises(PiclusterError, match="is a directory"), open_image(tmp_path):
        pass
