"""The interface of what a card is written to: an image file or a raw disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

# What every raw disk of today can be read and written by; offsets, lengths and buffers are multiples of it.
ALIGNMENT = 4096


class Medium(Protocol):
    """Something a card is written to and read back from, by one thread.

    Offsets and lengths are multiples of ALIGNMENT, and so are the addresses of the buffers, because a raw disk takes
    nothing else. Errors are OSError, with a reason that a person can read.

    Attributes:
        name: For people: the file or the device.
        capacity: Bytes it can hold, or None if only the file system knows.
        fresh: Whether all that is not written reads as zeros, so that zeros need not be written.
    """

    name: str
    capacity: int | None
    fresh: bool

    def write(self, offset: int, data: memoryview) -> None:
        """Write all data at this offset."""
        ...

    def read(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer from this offset; return how many bytes there were before the end."""
        ...

    def sync(self) -> None:
        """Flush all writes to the medium, and drop caches so that the next read comes from it."""
        ...

    def finish(self, length: int) -> None:
        """Complete a good card, which ends after this many bytes: an image file gets its name."""
        ...


def fill(buffer: memoryview, read: Callable[[memoryview], int]) -> int:
    """Fill a buffer by as many reads as it takes; return how many bytes there were before the end.

    ``read`` reads into the start of what is left, and returns how many bytes came, 0 at the end.
    """
    done = 0
    while done < len(buffer):
        count = read(buffer[done:])
        done += count
        # A medium that ends within a block cannot be read further.
        if not count or count % ALIGNMENT:
            break
    return done


class Target(Medium, Protocol):
    """A medium that is open while it is used as a context."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
