"""Block maps: bmaptool makes real ones, and copies by those that we make for it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from cardkit import noise, run
from hypothesis import given
from hypothesis import strategies as st

from picluster.cards import bmap
from picluster.errors import PiclusterError

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "bmap.yml").read_text(encoding="utf-8"))
BLOCK = 4096
ZEROS = {"sha1": "0" * 40, "sha256": "0" * 64, "sha512": "0" * 128}


def _seal(text: str, kind: str = "sha256") -> bytes:
    """Put a map's own checksum in the place of the zeros."""
    digest = hashlib.new(kind, text.encode()).hexdigest()
    return text.replace(ZEROS[kind], digest, 1).encode()


GOOD = f"""<?xml version="1.0" ?>
<bmap version="2.0">
  <ImageSize> 40000 </ImageSize>
  <BlockSize> 4096 </BlockSize>
  <BlocksCount> 10 </BlocksCount>
  <MappedBlocksCount> 5 </MappedBlocksCount>
  <ChecksumType> sha256 </ChecksumType>
  <BmapFileChecksum> {ZEROS["sha256"]} </BmapFileChecksum>
  <BlockMap>
    <Range> 0 </Range>
    <Range> 4-5 </Range>
    <Range> 7-8 </Range>
  </BlockMap>
</bmap>
"""


def _sparse(path: Path, pieces: dict[int, int], size: int) -> Path:
    """Make an image that has data at these offsets only."""
    with path.open("wb") as stream:
        for seed, (offset, length) in enumerate(pieces.items()):
            stream.seek(offset)
            stream.write(noise(seed, length))
        stream.truncate(size)
    return path


@pytest.mark.parametrize("option", [None, "--no-checksum"], ids=["with checksums", "without"])
def test_a_map_made_by_bmaptool_says_of_the_image_what_is_so(tmp_path: Path, option: str | None) -> None:
    size = (40 << 20) + 700
    image = _sparse(tmp_path / "card.img", {0: 512, 4 << 20: 3 << 20, 20 << 20: 100, size - 300: 300}, size)
    run("bmaptool", "create", *([option] if option else []), "-o", tmp_path / "card.bmap", image)
    found = bmap.read(tmp_path / "card.bmap")
    data = image.read_bytes()
    assert (found.image_size, found.block_size) == (size, BLOCK)
    assert len(found.ranges) == 4
    assert found.ranges[-1].end_byte == size
    for part in found.ranges:
        digest = hashlib.sha256(data[part.first_byte : part.end_byte]).hexdigest()
        assert part.checksum == (None if option else digest)
    edges = [0, *(edge for part in found.ranges for edge in (part.first_byte, part.end_byte)), size]
    holes = list(zip(edges[::2], edges[1::2], strict=True))
    assert sum(end - first for first, end in holes) > 36 << 20
    assert not any(any(data[first:end]) for first, end in holes)


def _older(version: str) -> bytes:
    """Write GOOD as it was before format 2.0."""
    text = GOOD.replace('"2.0"', f'"{version}"').replace("  <ChecksumType> sha256 </ChecksumType>\n", "")
    own = f"  <BmapFileChecksum> {ZEROS['sha256']} </BmapFileChecksum>\n"
    if version != "1.3":
        return text.replace(own, "").encode()
    text = text.replace(own, f"  <BmapFileSHA1> {ZEROS['sha1']} </BmapFileSHA1>\n")
    digest = hashlib.sha1(noise(0, BLOCK)).hexdigest()  # noqa: S324 - the format has no other
    return _seal(text.replace("<Range> 0 ", f'<Range sha1="{digest}"> 0 '), "sha1")


MAPS = {
    "1.0": _older("1.0"),
    "1.2": _older("1.2"),
    "1.3": _older("1.3"),
    "1.4": _seal(GOOD.replace('"2.0"', '"1.4"')),
    "2.0": _seal(GOOD),
    "2.0 with sha512": _seal(GOOD.replace("sha256", "sha512").replace(ZEROS["sha256"], ZEROS["sha512"]), "sha512"),
}


@pytest.mark.parametrize("name", MAPS)
def test_every_format_that_bmaptool_copies_by_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "card.bmap").write_bytes(MAPS[name])
    image = _sparse(tmp_path / "card.img", {0: BLOCK, 4 * BLOCK: 2 * BLOCK, 7 * BLOCK: 2 * BLOCK}, 40000)
    run("bmaptool", "copy", "--bmap", tmp_path / "card.bmap", image, tmp_path / "copy.img")
    assert (tmp_path / "copy.img").read_bytes() == image.read_bytes()
    found = bmap.read(tmp_path / "card.bmap")
    blocks = [(part.first_byte // BLOCK, part.end_byte / BLOCK) for part in found.ranges]
    assert (found.image_size, blocks) == (40000, [(0, 1), (4, 6), (7, 9)])
    first = hashlib.sha1(image.read_bytes()[:BLOCK], usedforsecurity=False).hexdigest()
    assert [part.checksum for part in found.ranges] == [first if name == "1.3" else None, None, None]


def test_the_last_range_ends_with_the_image() -> None:
    found = bmap.parse(_seal(GOOD.replace("7-8", "8-9")), "card.bmap")
    assert found.ranges[-1] == bmap.Range(8 * BLOCK, 40000, None)


@pytest.mark.parametrize("case", CASES["bad"], ids=lambda case: case["name"])
def test_a_map_that_does_not_hold_together_is_refused_in_one_sentence(case: dict[str, Any]) -> None:
    old, new = case["replace"]
    assert old in GOOD
    with pytest.raises(PiclusterError) as caught:
        bmap.parse(_seal(GOOD.replace(old, new)), "card.bmap")
    assert case["says"] in str(caught.value)
    assert str(caught.value).startswith("card.bmap is not a usable block map")
    assert "\n" not in str(caught.value)


@given(st.integers(0, len(_seal(GOOD)) - 1), st.integers(1, 255))
def test_a_map_with_one_changed_byte_is_refused(place: int, change: int) -> None:
    data = bytearray(_seal(GOOD))
    data[place] ^= change
    with pytest.raises(PiclusterError):
        bmap.parse(bytes(data), "card.bmap")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_sentence(data: bytes) -> None:
    with pytest.raises(PiclusterError) as caught:
        bmap.parse(data, "card.bmap")
    assert "\n" not in str(caught.value)


def test_a_map_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PiclusterError, match="cannot be read"):
        bmap.read(tmp_path)
    huge = tmp_path / "card.bmap"
    with huge.open("wb") as stream:
        stream.truncate(65 << 20)
    with pytest.raises(PiclusterError, match="larger than 67108864 bytes"):
        bmap.read(huge)
