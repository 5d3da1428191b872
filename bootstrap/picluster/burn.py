"""Burn many card images side by side from one read of the source, and verify each by reading it back.

The image is read and unpacked once; each piece goes to all writers through short queues, so memory does not grow with
the number of cards. Runs of zeros become holes, which is safe because the files are new. A card's first block, with its
partition table, is written last and the file gets its name after that: a half-written card never boots, nor looks done.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from dataclasses import dataclass, field
from queue import Queue
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from picluster import mbr
from picluster.errors import PiclusterError
from picluster.fat import FatVolume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from picluster.image import Image

_BLOCK = mbr.SECTOR
# Holes smaller than this save nothing.
_GRAIN = 64 << 10
_ZEROS = bytes(4 << 20)
_QUEUE = 3
# Cards that are personalised and verified at once: this is reading and hashing, which more threads do not speed up.
_FINISHING = 4


@dataclass(frozen=True)
class Card:
    """One card to burn.

    Attributes:
        name: The node's name.
        path: The card image to make.
        files: What to write to its boot partition, by path.
    """

    name: str
    path: Path
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Result:
    """How a card ended; error is empty if it is good."""

    name: str
    path: Path
    error: str


class Watcher:
    """Told about progress; does nothing. Methods are called from several threads."""

    def read(self, fraction: float) -> None:
        """The source was read up to this fraction (0 to 1)."""

    def card(self, name: str, state: str, detail: str = "") -> None:
        """A card came to a state: writing, verifying, done or failed (with the reason)."""


@dataclass(frozen=True)
class _Piece:
    """A stretch of the source outside the boot partition.

    Attributes:
        offset: Where it begins.
        length: Its bytes.
        digest: Of its contents; None if it is all zeros, which is compared without hashing.
    """

    offset: int
    length: int
    digest: bytes | None


@dataclass(frozen=True)
class _Chunk:
    offset: int
    data: bytes
    runs: tuple[tuple[int, int], ...]


@dataclass
class _Source:
    """What the reader learnt of the source, for the verification."""

    boot: mbr.Partition
    stock: dict[str, bytes]
    first: bytes = b""
    length: int = 0
    pieces: list[_Piece] = field(default_factory=list)

    def learn(self, offset: int, data: bytes) -> None:
        if offset == 0:
            self.first = data[:_BLOCK]
        self.length = offset + len(data)
        for begin, end in ((_BLOCK, self.boot.offset), (self.boot.end, self.length)):
            low, high = max(begin, offset), min(end, self.length)
            if low < high:
                part = data if high - low == len(data) else data[low - offset : high - offset]
                self.pieces.append(_Piece(low, high - low, _digest(part)))


def _is_zero(data: bytes) -> bool:
    # Comparing bytes is one memcmp; comparing memoryviews goes byte by byte.
    return data == (_ZEROS if len(data) == len(_ZEROS) else bytes(len(data)))


def _digest(data: bytes) -> bytes | None:
    return None if _is_zero(data) else hashlib.blake2b(data, digest_size=32).digest()


def _runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of the stretches that are not all zeros."""
    begin: int | None = None
    for offset in range(0, len(data), _GRAIN):
        if _is_zero(data[offset : offset + _GRAIN]):
            if begin is not None:
                yield begin, offset
                begin = None
        elif begin is None:
            begin = offset
    if begin is not None:
        yield begin, len(data)


class _Writer(threading.Thread):
    """Burns one card from its queue: chunks, then True (the source is complete) or an error text."""

    def __init__(self, card: Card, source: _Source, watcher: Watcher, finishing: threading.Semaphore) -> None:
        super().__init__(name=f"card-{card.name}", daemon=True)
        self.card = card
        self.queue: Queue[_Chunk | str | bool] = Queue(_QUEUE)
        self.error = ""
        self._source = source
        self._watcher = watcher
        self._finishing = finishing
        self._part = card.path.with_name(f".{card.path.name}.part")
        self._ended = False

    def run(self) -> None:
        """Burn; keep the error instead of raising, so that other cards go on."""
        self._watcher.card(self.card.name, "writing")
        try:
            with self._part.open("w+b") as stream:
                self._write(stream)
                with self._finishing:
                    self._watcher.card(self.card.name, "verifying")
                    self._finish(stream)
            self._part.replace(self.card.path)
        except OSError as error:
            self.error = f"{self.card.path}: {error.strerror or error}"
        except PiclusterError as error:
            self.error = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the other cards
            self.error = f"{type(error).__name__}: {error}"
        # The reader must never wait for a card that gave up.
        while not self._ended:
            self._ended = not isinstance(self.queue.get(), _Chunk)
        if self.error:
            with contextlib.suppress(OSError):
                self._part.unlink()
        self._watcher.card(self.card.name, "failed" if self.error else "done", self.error)

    def _write(self, stream: IO[bytes]) -> None:
        while isinstance(item := self.queue.get(), _Chunk):
            view = memoryview(item.data)
            for begin, end in item.runs:
                stream.seek(item.offset + begin)
                stream.write(view[begin:end])
        self._ended = True
        if isinstance(item, str):
            raise PiclusterError(item)
        stream.truncate(self._source.length)

    def _finish(self, stream: IO[bytes]) -> None:
        boot = self._source.boot
        volume = FatVolume(cast("BinaryIO", stream), boot.offset, boot.size)
        for path, data in self.card.files.items():
            volume.write(path, data)
        stream.flush()
        os.fsync(stream.fileno())
        self._verify(stream)
        stream.seek(0)
        stream.write(self._source.first)
        stream.flush()
        os.fsync(stream.fileno())
        stream.seek(0)
        if stream.read(_BLOCK) != self._source.first:
            raise PiclusterError(f"{self.card.name}: the first block reads back differently from what was written")

    def _verify(self, stream: IO[bytes]) -> None:
        for piece in self._source.pieces:
            stream.seek(piece.offset)
            data = stream.read(piece.length)
            if len(data) != piece.length or _digest(data) != piece.digest:
                raise PiclusterError(
                    f"{self.card.name}: the card reads back differently from the image at byte {piece.offset}"
                )
        expected = {path.casefold(): digest for path, digest in self._source.stock.items()}
        expected |= {path.casefold(): hashlib.blake2b(data).digest() for path, data in self.card.files.items()}
        volume = FatVolume(cast("BinaryIO", stream), self._source.boot.offset, self._source.boot.size)
        found = {path.casefold(): digest for path, digest in volume.digests().items()}
        wrong = sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))
        if wrong:
            raise PiclusterError(f"{self.card.name}: {wrong[0]} on the boot partition reads back differently")


def burn(image: Image, cards: Sequence[Card], watcher: Watcher | None = None) -> list[Result]:
    """Burn cards side by side.

    Args:
        image: The open source.
        cards: What to make of it; their directories exist.
        watcher: Told about progress.

    Returns:
        How each card ended, in order. Raises nothing for a bad card or a source that breaks off: the cards say so.
    """
    watcher = watcher or Watcher()
    source = _Source(image.boot, image.volume().digests())
    finishing = threading.Semaphore(_FINISHING)
    writers = [_Writer(card, source, watcher, finishing) for card in cards]
    for writer in writers:
        writer.start()
    ending: str | bool = "the burn was interrupted"
    try:
        _feed(image, source, writers, watcher.read)
        ending = True
    except PiclusterError as error:
        ending = str(error)
    finally:
        for writer in writers:
            writer.queue.put(ending)
        for writer in writers:
            writer.join()
    return [Result(writer.card.name, writer.card.path, writer.error) for writer in writers]


def _feed(image: Image, source: _Source, writers: Sequence[_Writer], progress: Callable[[float], None]) -> None:
    offset = 0
    for data, fraction in image.chunks():
        source.learn(offset, data)
        body = bytes(_BLOCK) + data[_BLOCK:] if offset == 0 else data
        chunk = _Chunk(offset, body, tuple(_runs(body)))
        for writer in writers:
            writer.queue.put(chunk)
        offset += len(data)
        progress(fraction)
