"""A raw disk as a Target: what is the same on every system, over the few calls that are not."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol, Self

from picluster.cards.target import ALIGNMENT, fill

if TYPE_CHECKING:
    from types import TracebackType

_PROTECTED = "it is write-protected: check the lock on the side of the card"
_PULLED = "the card was taken out, or its reader unplugged"
# What people can do about what systems say; the others keep the system's own words.
_SENTENCES = {
    errno.EIO: "the card or its reader failed, or it was taken out: try another card",
    errno.EROFS: _PROTECTED,
    # What Linux says of a write to an open disk that is read-only; who may not open one is told otherwise.
    errno.EPERM: _PROTECTED,
    errno.ENOSPC: "the card is smaller than what is to be written to it",
    errno.ENODEV: _PULLED,
    errno.ENXIO: _PULLED,
    errno.ENOENT: _PULLED,
    getattr(errno, "ENOMEDIUM", errno.ENXIO): _PULLED,
    errno.EBUSY: "something else uses it (a file system, RAID, LVM or another program): release it first",
}


class Handle(Protocol):
    """An open raw disk, by the calls of one system; each may do less than it was asked, and raises OSError."""

    def write_at(self, offset: int, data: memoryview) -> int:
        """Write from the start of the data; return how many bytes were taken."""
        ...

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Read into the start of the buffer; return how many bytes came, 0 at the end."""
        ...

    def flush(self) -> None:
        """Flush all writes to the medium; what is read next comes from there."""
        ...

    def announce(self) -> None:
        """Let the system look at the new partition table, if it will."""
        ...

    def close(self) -> None:
        """Release the disk and all that was locked with it."""
        ...


def explain(error: OSError, name: str, hints: dict[int, str] | None = None) -> OSError:
    """Return the error with a reason that a person can act on; hints are sentences of one system, by errno."""
    number = error.errno or errno.EIO
    sentence = (hints or {}).get(number) or _SENTENCES.get(number) or error.strerror or str(error)
    return OSError(number, sentence, name)


class RawDisk:
    """A raw disk, as picluster.cards.target.Target says; the handle is closed at the end."""

    def __init__(self, name: str, capacity: int, handle: Handle) -> None:
        self.name = name
        self.capacity: int | None = capacity
        self.fresh = False
        self._size = capacity
        self._handle = handle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()

    def write(self, offset: int, data: memoryview) -> None:
        """Write all data at this offset."""
        if offset + len(data) > self._size:
            raise explain(OSError(errno.ENOSPC, ""), self.name)
        done = 0
        while done < len(data):
            try:
                taken = self._handle.write_at(offset + done, data[done:])
            except OSError as error:
                raise explain(error, self.name) from error
            # A disk takes only whole blocks: after a short write the last, broken one is written again.
            if done + taken < len(data):
                taken -= taken % ALIGNMENT
            if not taken:
                raise explain(OSError(errno.EIO, ""), self.name)
            done += taken

    def read(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer from this offset; return how many bytes there were before the end."""
        # Past the end one system reports nothing, another fails.
        end = offset + len(buffer[: max(0, self._size - offset)])
        try:
            return fill(buffer[: end - offset], lambda rest: self._handle.read_at(end - len(rest), rest))
        except OSError as error:
            raise explain(error, self.name) from error

    def sync(self) -> None:
        """Flush all writes to the medium, and drop caches so that the next read comes from it."""
        try:
            self._handle.flush()
        except OSError as error:
            raise explain(error, self.name) from error

    def finish(self, length: int) -> None:  # noqa: ARG002 - a disk does not end where the image does
        """Flush all writes, and let the system read the new partition table."""
        self.sync()
        self._handle.announce()
