"""A raw disk on Linux: past the page cache by O_DIRECT, held alone by O_EXCL."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
from typing import Protocol, cast

from picluster.devices import posix
from picluster.devices.raw import RawDisk, explain

# <linux/fs.h>
_BLKRRPART = 0x125F
_BLKFLSBUF = 0x1261

_ROOT = "no right to use it: run this as root, or as a member of the group disk"
# What people can do about it, by errno.
NO_RIGHT = {errno.EACCES: _ROOT, errno.EPERM: _ROOT}


class LinuxCalls(posix.PosixCalls, Protocol):
    """What is needed of the module os on Linux alone."""

    O_DIRECT: int
    O_EXCL: int
    SEEK_END: int
    POSIX_FADV_DONTNEED: int

    def lseek(self, fd: int, position: int, how: int) -> int: ...  # noqa: D102 - as in os
    def posix_fadvise(self, fd: int, offset: int, length: int, advice: int) -> None: ...  # noqa: D102


class LinuxControl(posix.PosixControl, Protocol):
    """What is needed of the module fcntl on Linux alone."""

    F_GETFL: int
    F_SETFL: int


class LinuxHandle(posix.Descriptor):
    """An open block device; ``fd`` is open for reading and writing with O_DIRECT."""

    def __init__(self, fd: int, calls: LinuxCalls, control: LinuxControl) -> None:
        super().__init__(fd, calls)
        self._calls: LinuxCalls = calls
        self._control = control
        self._direct = True

    def write_at(self, offset: int, data: memoryview) -> int:
        """Write from the start of the data; return how many bytes were taken."""
        try:
            return super().write_at(offset, data)
        except OSError as error:
            self._go_buffered(error)
            return super().write_at(offset, data)

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Read into the start of the buffer; return how many bytes came, 0 at the end."""
        try:
            return super().read_at(offset, buffer)
        except OSError as error:
            self._go_buffered(error)
            return super().read_at(offset, buffer)

    def _go_buffered(self, error: OSError) -> None:
        """Do without O_DIRECT, if the error says that this disk or driver cannot do it."""
        if not self._direct or error.errno != errno.EINVAL:
            raise error
        self._direct = False
        flags = self._control.fcntl(self._fd, self._control.F_GETFL)
        self._control.fcntl(self._fd, self._control.F_SETFL, flags & ~self._calls.O_DIRECT)

    def flush(self) -> None:
        """Flush all writes to the medium; what is read next comes from there."""
        self._calls.fsync(self._fd)
        if not self._direct:
            # The first needs root; the second only asks, but nothing else holds these pages.
            with contextlib.suppress(OSError):
                self._control.ioctl(self._fd, _BLKFLSBUF)
            self._calls.posix_fadvise(self._fd, 0, 0, self._calls.POSIX_FADV_DONTNEED)

    def announce(self) -> None:
        """Let the kernel look at the new partition table; loop devices mostly will not."""
        with contextlib.suppress(OSError):
            self._control.ioctl(self._fd, _BLKRRPART)


def open_disk(path: str, calls: LinuxCalls | None = None, control: LinuxControl | None = None) -> RawDisk:
    """Open a block device to be overwritten.

    O_EXCL makes the kernel refuse what is mounted, swapped to or part of a RAID or LVM anywhere on this machine, in
    other containers too, and keeps it free of all that while it is written. An OSError of the system is a sentence.
    """
    calls = calls or cast("LinuxCalls", os)
    control = control or cast("LinuxControl", importlib.import_module("fcntl"))
    flags = calls.O_RDWR | calls.O_EXCL | calls.O_CLOEXEC
    fd = -1
    try:
        try:
            fd = calls.open(path, flags | calls.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fd = calls.open(path, flags)
        size = calls.lseek(fd, 0, calls.SEEK_END)
    except OSError as error:
        if fd >= 0:
            calls.close(fd)
        raise explain(error, path, NO_RIGHT) from error
    return RawDisk(path, size, LinuxHandle(fd, calls, control))
