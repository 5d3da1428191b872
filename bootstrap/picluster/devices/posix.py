"""What is the same on Linux and macOS: which calls a raw disk needs, and moving bytes by them."""

from __future__ import annotations

from typing import Protocol


class PosixCalls(Protocol):
    """What is needed of the module os, which has less of it on Windows."""

    O_RDONLY: int
    O_RDWR: int
    O_CLOEXEC: int

    def open(self, path: str, flags: int) -> int: ...  # noqa: D102 - as in os
    def close(self, fd: int) -> None: ...  # noqa: D102
    def pwrite(self, fd: int, data: memoryview, offset: int) -> int: ...  # noqa: D102
    def preadv(self, fd: int, buffers: list[memoryview], offset: int) -> int: ...  # noqa: D102
    def fsync(self, fd: int) -> None: ...  # noqa: D102


class PosixControl(Protocol):
    """What is needed of the module fcntl, which Windows does not have."""

    def fcntl(self, fd: int, command: int, argument: int = 0) -> int: ...  # noqa: D102 - as in fcntl
    def ioctl(self, fd: int, request: int, argument: int = 0) -> int: ...  # noqa: D102


class Descriptor:
    """An open raw disk, as far as both systems agree on it."""

    def __init__(self, fd: int, calls: PosixCalls) -> None:
        self._fd = fd
        self._calls = calls

    def write_at(self, offset: int, data: memoryview) -> int:
        """Write from the start of the data; return how many bytes were taken."""
        return self._calls.pwrite(self._fd, data, offset)

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Read into the start of the buffer; return how many bytes came, 0 at the end."""
        return self._calls.preadv(self._fd, [buffer], offset)

    def close(self) -> None:
        """Release the disk."""
        self._calls.close(self._fd)
