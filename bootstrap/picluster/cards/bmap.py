"""Block maps (.bmap): which parts of an image hold data, as bmaptool and pi-gen write them beside an image.

What a block map leaves out was never written by the image's maker, so a card may keep whatever it has there. That is
its worth over looking for zeros: a block of zeros inside a file has to be written.

Source: bmap-tools 3.6, BmapCreate.py (history of the format) and BmapCopy.py (what a reader has to check).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree.ElementTree import Element

# A line for each range: the map of a 16 GiB image with nothing but single blocks would stay below it.
_FILE_MAX = 64 << 20
_VERSION = re.compile(r"([1-9])\.(\d{1,3})")
_MAJOR_MAX = 2
_NUMBER = re.compile(r"\d{1,18}")
_RANGE = re.compile(r"(\d{1,18})(?:\s*-\s*(\d{1,18}))?")
_CHECKSUMS = ("sha1", "sha224", "sha256", "sha384", "sha512")


@dataclass(frozen=True)
class Range:
    """One part of the image that holds data.

    ``end_byte`` is the byte after its last, and the image's end cuts the last block; the checksum is in small
    hexadecimal digits.
    """

    first_byte: int
    end_byte: int
    checksum: str | None


@dataclass(frozen=True)
class Bmap:
    """A block map that was checked: own checksum, counts, order.

    The ranges are in order and apart. ``kind`` is that of their checksums, as hashlib names it; empty if there are
    none.
    """

    image_size: int
    block_size: int
    ranges: tuple[Range, ...]
    kind: str = ""


def read(path: Path) -> Bmap:
    """Read and check a .bmap file, format 1.0 to 2.x."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_FILE_MAX + 1)
    except OSError as error:
        raise PiclusterError(f"the block map {path} cannot be read: {error.strerror or error}") from error
    if len(data) > _FILE_MAX:
        raise PiclusterError(
            f"{path} is not a block map: it is larger than {_FILE_MAX} bytes; "
            "remove it, or name the image's own with --bmap"
        )
    return parse(data, path.name)


def parse(data: bytes, name: str) -> Bmap:
    """Check the bytes of a block map and return what it says; ``name`` is the file's, for errors."""
    return _BmapReader(data, name).bmap()


class _BmapReader:
    """Reads one file; each of its errors names the file."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        try:
            # No block map has a DTD; with one, a small file could become a large one (entities).
            self._root: Element = fromstring(data, forbid_dtd=True)
        except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
            raise self._wrong(f"it is not plain XML ({type(error).__name__}: {error})") from error
        if self._root.tag != "bmap":
            raise self._wrong(f"its root element is {self._root.tag!r}, a block map's is 'bmap'")

    def _wrong(self, what: str) -> PiclusterError:
        return PiclusterError(f"{self._name} is not a usable block map: {what}; fetch it again, or pass --no-bmap")

    def bmap(self) -> Bmap:
        kind, attribute = self._checksum()
        size, block, count = (self._number(tag) for tag in ("ImageSize", "BlockSize", "BlocksCount"))
        if not size or not block:
            raise self._wrong(f"ImageSize {size} or BlockSize {block} is nothing")
        if count != -(-size // block):
            raise self._wrong(f"{size} bytes are not {count} blocks of {block}")
        blocks = [self._range(element, kind, attribute) for element in self._root.findall("BlockMap/Range")]
        for (_, last, _), (first, _, _) in pairwise(blocks):
            if first <= last:
                raise self._wrong(f"the range at block {first} begins within or before the one that ends at {last}")
        if blocks and blocks[-1][1] >= count:
            raise self._wrong(f"block {blocks[-1][1]} lies behind the image's last block {count - 1}")
        mapped, found = self._number("MappedBlocksCount"), sum(last - first + 1 for first, last, _ in blocks)
        if mapped != found:
            raise self._wrong(f"its ranges are {found} blocks, MappedBlocksCount says {mapped}")
        ranges = (Range(first * block, min(size, (last + 1) * block), digest) for first, last, digest in blocks)
        return Bmap(size, block, tuple(ranges), kind)

    def _text(self, tag: str) -> str:
        text = (self._root.findtext(tag) or "").strip()
        if not text:
            raise self._wrong(f"it has no {tag}")
        return text

    def _number(self, tag: str) -> int:
        text = self._text(tag)
        if not _NUMBER.fullmatch(text):
            raise self._wrong(f"{tag} is {text[:40]!r}, not a number")
        return int(text)

    def _checksum(self) -> tuple[str, str]:
        """Check the file's own checksum; return the kind and the attribute of the ranges' ones.

        Before 1.3 there were none, 1.3 had SHA-1 under names of its own, 1.4 is 2.0 released under a wrong number.
        """
        text = self._root.get("version", "")
        match = _VERSION.fullmatch(text)
        if not match or int(match[1]) > _MAJOR_MAX:
            raise self._wrong(f"its format version is {text[:40]!r}, known are 1.0 to {_MAJOR_MAX}.x")
        version = (int(match[1]), int(match[2]))
        old = version == (1, 3)
        if version < (1, 3):
            # Else one changed digit in the version would switch the check off.
            if self._root.find("BmapFileChecksum") is not None or self._root.find("BmapFileSHA1") is not None:
                raise self._wrong(f"format {text} knows no checksum, yet it has one")
            return "", ""
        kind = "sha1" if old else self._text("ChecksumType")
        if kind not in _CHECKSUMS:
            raise self._wrong(f"its ChecksumType is {kind[:40]!r}, known are {', '.join(_CHECKSUMS)}")
        said = self._digest(self._text("BmapFileSHA1" if old else "BmapFileChecksum"), kind)
        # The sum was made while zeros stood in its own place.
        zeroed = self._data.replace(said.encode(), b"0" * len(said), 1)
        if hashlib.new(kind, zeroed).hexdigest() != said:
            raise self._wrong(f"its own {kind} checksum does not fit, so it was changed or cut")
        return kind, "sha1" if old else "chksum"

    def _digest(self, text: str, kind: str) -> str:
        if not re.fullmatch(r"[0-9a-f]+", text) or len(text) != 2 * hashlib.new(kind).digest_size:
            raise self._wrong(f"{text[:40]!r} is not a {kind} checksum")
        return text

    def _range(self, element: Element, kind: str, attribute: str) -> tuple[int, int, str | None]:
        text = (element.text or "").strip()
        match = _RANGE.fullmatch(text)
        if not match:
            raise self._wrong(f"{text[:40]!r} is not a range of blocks")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise self._wrong(f"the range {text} ends before it begins")
        digest = element.get(attribute) if kind else None
        if digest is not None:
            self._digest(digest, kind)
        return first, last, digest
