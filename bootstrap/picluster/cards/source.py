"""Read an image once for all cards, and note what each card must read back as.

A chunk is read and unpacked once, into a buffer that all writers share. The buffer is reused when the last writer has
released it, so memory does not grow with the number of cards, and the slowest card sets the pace.
"""

from __future__ import annotations

import hashlib
import mmap
import threading
from collections import deque
from dataclasses import dataclass, field
from queue import Empty, Queue
from typing import TYPE_CHECKING

from picluster.cards.target import ALIGNMENT
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from picluster.cards.bmap import Bmap
    from picluster.cards.image import Image

# Cards write whole erase blocks of 4 MiB at once, and system calls are few.
CHUNK = 4 << 20
# 48 MiB: what a card may lag behind while it pauses to tidy up, as cards do.
_BUFFERS = 12
# Holes smaller than this save nothing.
_GRAIN = 64 << 10
_ZEROS = bytes(CHUNK)


def is_zero(data: memoryview) -> bool:
    """Return whether all bytes are zero."""
    # Comparing bytes is one memcmp; comparing memoryviews goes byte by byte.
    return bytes(data) == (_ZEROS if len(data) == CHUNK else _ZEROS[: len(data)])


def hasher() -> hashlib.blake2b:
    """Return a new hash object; BLAKE2 is faster than any card reader."""
    return hashlib.blake2b(digest_size=32)


def digest(data: memoryview) -> bytes:
    """Return the digest of a buffer."""
    hashed = hasher()
    hashed.update(data)
    return hashed.digest()


def aligned(length: int) -> memoryview:
    """Return a new buffer that a raw disk accepts: an anonymous mapping starts at a page."""
    return memoryview(mmap.mmap(-1, length))


@dataclass(frozen=True)
class Piece:
    """A stretch of the image as every card must hold it, its own patches aside; the digest is None for zeros."""

    offset: int
    length: int
    digest: bytes | None


class Buffers:
    """A fixed number of buffers of one size in bytes."""

    def __init__(self, count: int, size: int) -> None:
        self._size = size
        self._free: Queue[memoryview] = Queue()
        for _ in range(count):
            self.add()

    def add(self) -> None:
        """Add a buffer: at the start, or for one that was lost."""
        self._free.put(aligned(self._size))

    def take(self, timeout: float | None = None) -> memoryview | None:
        """Take a buffer; return None if none is free within the timeout (seconds)."""
        try:
            return self._free.get(timeout=timeout)
        except Empty:
            return None

    def give(self, buffer: memoryview) -> None:
        """Return a buffer to the pool."""
        self._free.put(buffer)


class Loan:
    """One user's access to a pool of buffers, which notes whether he holds one in case he hangs."""

    def __init__(self, pool: Buffers) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._out = False
        self._lost = False

    def take(self, timeout: float) -> memoryview | None:
        """Take a buffer; return None if none is free within the timeout (seconds)."""
        buffer = self._pool.take(timeout)
        with self._lock:
            self._out = buffer is not None
        return buffer

    def give(self, buffer: memoryview) -> None:
        """Return the buffer to the pool."""
        with self._lock:
            back = self._out and not self._lost
            self._out = False
        if back:
            self._pool.give(buffer)

    def lose(self) -> None:
        """Replace the buffer that the user holds, if any, because he hangs."""
        with self._lock:
            if self._lost or not self._out:
                return
            self._lost = True
        self._pool.add()


class Chunk:
    """A stretch of the image on its way to the writers.

    ``view`` is padded with zeros to whole blocks; ``mapped`` is (begin, end) of what is to be written within it,
    ``filled`` the same without long runs of zeros, for cards that are empty files.
    """

    def __init__(self, offset: int, buffer: memoryview, length: int, pool: Buffers) -> None:
        self.offset = offset
        self.view = buffer[:length]
        self.mapped: tuple[tuple[int, int], ...] = ((0, length),)
        self.filled: tuple[tuple[int, int], ...] = ()
        self._buffer = buffer
        self._pool = pool
        self._users = 1
        self._lost = False
        self._lock = threading.Lock()

    def hold(self) -> None:
        """Add a user."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """Remove a user; after the last one the buffer is reused."""
        with self._lock:
            self._users -= 1
            back = self._users == 0 and not self._lost
        if back:
            self._pool.give(self._buffer)

    def lose(self) -> None:
        """Replace the buffer in the pool, because a writer hangs and may never release it."""
        with self._lock:
            if self._lost or self._users == 0:
                return
            self._lost = True
        self._pool.add()


def _filled(view: memoryview, mapped: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of the mapped stretches that are not all zeros."""
    for low, high in mapped:
        begin: int | None = None
        for offset in range(low, high, _GRAIN):
            if is_zero(view[offset : min(offset + _GRAIN, high)]):
                if begin is not None:
                    yield begin, offset
                    begin = None
            elif begin is None:
                begin = offset
        if begin is not None:
            yield begin, high


class _MapCheck:
    """Compares what is read with a block map: each range with its checksum, and all else must be zeros.

    A map that belongs to another image of the same size, or has no checksums, would else leave old bytes on a card.
    """

    def __init__(self, bmap: Bmap, image: str) -> None:
        self._size = bmap.image_size
        self._ranges = deque(bmap.ranges)
        self._image = image
        self._kind = bmap.kind or "sha256"
        self._hash = hashlib.new(self._kind)

    def see(self, offset: int, data: memoryview) -> list[tuple[int, int]]:
        """Check the next stretch against the map; return (begin, end) of what is mapped in it."""
        mapped = []
        end, left = offset + len(data), offset
        while self._ranges and self._ranges[0].first_byte < end:
            part = self._ranges[0]
            low, high = max(part.first_byte, offset) - offset, min(part.end_byte, end) - offset
            self._require_zeros(data[left - offset : low], left)
            left = offset + high
            mapped.append((low, high))
            self._hash.update(data[low:high])
            if part.end_byte > end:
                break
            self._ranges.popleft()
            if part.checksum and self._hash.hexdigest() != part.checksum:
                raise self._differs(part.first_byte, part.end_byte)
            self._hash = hashlib.new(self._kind)
        self._require_zeros(data[left - offset :], left)
        return mapped

    def end(self, size: int) -> None:
        """Check that the map is of an image of this size."""
        if size != self._size:
            raise self._differs(min(size, self._size), max(size, self._size))

    def _require_zeros(self, data: memoryview, offset: int) -> None:
        if not is_zero(data):
            raise self._differs(offset, offset + len(data))

    def _differs(self, begin: int, end: int) -> PiclusterError:
        return PiclusterError(
            f"{self._image} differs from its block map (.bmap) between bytes {begin} and {end}: "
            "fetch both again, or leave the map out with --no-bmap"
        )


def _whole_blocks(mapped: Sequence[tuple[int, int]], length: int) -> tuple[tuple[int, int], ...]:
    """Widen to whole blocks and join what then touches."""
    joined: list[tuple[int, int]] = []
    for low, high in mapped:
        begin, end = low // ALIGNMENT * ALIGNMENT, min(-(-high // ALIGNMENT) * ALIGNMENT, length)
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return tuple(joined)


@dataclass
class Source:
    """An image being read, and what was learnt of it for the verification.

    Attributes:
        sparse: Whether any card wants to know of long runs of zeros.
        limit: Bytes after which nothing is read, for cards that end there; None for the whole image.
        first: The image's first block, which is not in any chunk: it is written last.
        length: Bytes read so far; at the end, of the image.
    """

    image: Image
    bmap: Bmap | None = None
    sparse: bool = True
    learn: bool = True
    limit: int | None = None
    first: bytes = b""
    length: int = 0
    pieces: list[Piece] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pool = Buffers(_BUFFERS, CHUNK)

    def chunks(self, unstick: Callable[[], None]) -> Iterator[Chunk]:
        """Read the image; each chunk is yielded with one user, who must release it.

        ``unstick`` is called while all buffers are with the writers.
        """
        check = _MapCheck(self.bmap, self.image.path.name) if self.bmap else None
        self.image.start()
        while True:
            while (buffer := self._pool.take(timeout=1.0)) is None:
                unstick()
            room = CHUNK if self.limit is None else min(CHUNK, self.limit - self.length)
            count = self.image.read_into(buffer[:room])
            if not count:
                self._pool.give(buffer)
                # With a limit the rest of the image was not looked at.
                if check and room:
                    check.end(self.length)
                return
            length = -(-count // ALIGNMENT) * ALIGNMENT
            buffer[count:length] = bytes(length - count)
            chunk = Chunk(self.length, buffer, length, self._pool)
            if check:
                chunk.mapped = _whole_blocks(check.see(self.length, buffer[:count]), length)
            if self.length == 0:
                self.first = bytes(buffer[:ALIGNMENT])
                buffer[:ALIGNMENT] = bytes(ALIGNMENT)
            if self.sparse:
                chunk.filled = tuple(_filled(chunk.view, chunk.mapped))
            if self.learn:
                self._note(chunk)
            self.length += count
            yield chunk

    def _note(self, chunk: Chunk) -> None:
        for begin, end in chunk.mapped:
            part = chunk.view[begin:end]
            zero = not chunk.filled if self.sparse else is_zero(part)
            self.pieces.append(Piece(chunk.offset + begin, end - begin, None if zero else digest(part)))
