"""An image file as the target of a burn: sparse, and with its own name only when it is good."""

from __future__ import annotations

import contextlib
import os
from typing import IO, TYPE_CHECKING, Self

from picluster.cards.target import fill

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class _File:
    """What both have in common: see picluster.cards.target.Target."""

    fresh = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.capacity: int | None = None
        self._path = path
        self._stream: IO[bytes] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def _open(self) -> IO[bytes]:
        if self._stream is None:
            raise ValueError("the card image is not open")
        return self._stream

    def write(self, offset: int, data: memoryview) -> None:
        """Write all data at this offset."""
        stream = self._open
        stream.seek(offset)
        while data:
            data = data[stream.write(data) :]

    def read(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer from this offset."""
        stream = self._open
        stream.seek(offset)
        # A file opened without a buffer has readinto, which IO does not know.
        return fill(buffer, stream.readinto)  # type: ignore[attr-defined]

    def sync(self) -> None:
        """Flush it to the disk and drop it from the page cache, where the platform supports it."""
        stream = self._open
        os.fsync(stream.fileno())
        advise = getattr(os, "posix_fadvise", None)
        if advise:
            advise(stream.fileno(), 0, 0, getattr(os, "POSIX_FADV_DONTNEED", 4))


class FileTarget(_File):
    """A new card image. What is not written is a hole."""

    fresh = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._part = path.with_name(f".{path.name}.part")

    def __enter__(self) -> Self:
        # What a burn that was killed has left goes; a link in its place is not followed. Only the owner may read it: a
        # card can hold the key of a Wi-Fi network.
        self._part.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._stream = os.fdopen(os.open(self._part, flags, 0o600), "w+b", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        with contextlib.suppress(FileNotFoundError):  # as it is when the file has got its name
            self._part.unlink()

    def finish(self, length: int) -> None:
        """Truncate it to its length and rename it."""
        stream = self._open
        stream.truncate(length)
        os.fsync(stream.fileno())
        stream.close()
        self._part.replace(self._path)


class ExistingFile(_File):
    """A card image that is changed in place."""

    def __enter__(self) -> Self:
        self._stream = self._path.open("r+b", buffering=0)
        return self

    def finish(self, length: int) -> None:  # noqa: ARG002 - it keeps the one it has
        """Flush it to the disk; length and name are unchanged."""
        self.sync()
