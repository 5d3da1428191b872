"""For the tests of raw disks: the calls of three systems on a real file, with faults and short counts on demand."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass, field
from typing import Any

from picluster.devices import winapi


@dataclass
class Faults:
    """What goes wrong, and what was called.

    Attributes:
        limit: Bytes that one read or write moves at most; 0 is all.
        errors: Which errno a call ends in: write, read, sync, open, control.
        log: The calls, in their order.
    """

    limit: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def called(self, name: str, detail: str = "") -> None:
        self.log.append(f"{name} {detail}".strip())
        if name in self.errors:
            raise OSError(self.errors[name], os.strerror(self.errors[name]))

    def most(self, wanted: int) -> int:
        return min(wanted, self.limit or wanted)


class FileOs:
    """The module os of Linux and macOS, on a file."""

    O_RDONLY = os.O_RDONLY
    O_RDWR = os.O_RDWR
    O_CLOEXEC = 0
    O_EXCL = 0
    O_DIRECT = 1 << 30
    SEEK_END = os.SEEK_END
    POSIX_FADV_DONTNEED = 4

    def __init__(self, faults: Faults, files: dict[str, str] | None = None) -> None:
        self.faults = faults
        self.files = files or {}

    def open(self, path: str, flags: int) -> int:
        self.faults.called("open", path)
        return os.open(self.files.get(path, path), flags & ~self.O_DIRECT)

    def close(self, fd: int) -> None:
        self.faults.called("close")
        os.close(fd)

    def lseek(self, fd: int, position: int, how: int) -> int:
        return os.lseek(fd, position, how)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        self.faults.called("write")
        return os.pwrite(fd, data[: self.faults.most(len(data))], offset)

    def preadv(self, fd: int, buffers: list[memoryview], offset: int) -> int:
        self.faults.called("read")
        return os.preadv(fd, [buffers[0][: self.faults.most(len(buffers[0]))]], offset)

    def fsync(self, fd: int) -> None:
        self.faults.called("sync")
        os.fsync(fd)

    def posix_fadvise(self, fd: int, offset: int, length: int, advice: int) -> None:
        self.faults.called("fadvise")


class FileControl:
    """The module fcntl, which only writes down what it was asked."""

    F_GETFL = 3
    F_SETFL = 4

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.flags = FileOs.O_RDWR | FileOs.O_DIRECT

    def fcntl(self, fd: int, command: int, argument: int = 0) -> int:
        if command == self.F_SETFL:
            self.flags = argument
        self.faults.called("fcntl", str(command))
        return self.flags

    def ioctl(self, fd: int, request: int, argument: int = 0) -> int:
        self.faults.called("ioctl", hex(request))
        return 0


# One code of Windows for each errno that the tests put in.
_CODES = {
    errno.EIO: 1117,
    errno.ENODEV: 1167,
    errno.ENXIO: 55,
    errno.EROFS: 19,
    errno.ENOSPC: 112,
    errno.EACCES: 5,
    errno.EBUSY: 32,
    errno.EINVAL: 87,
}


class Kernel32Dll:
    """kernel32.dll, acting on files, called as ctypes calls it.

    Args:
        faults: What goes wrong.
        files: Which file stands for a disk; other paths are volumes.
    """

    def __init__(self, faults: Faults, files: dict[str, str]) -> None:
        self.faults = faults
        self.files = files
        self.error = 0
        self.held: dict[int, tuple[str, int]] = {}
        for name in ("CreateFileW", "DeviceIoControl", "ReadFile", "WriteFile", "SetFilePointerEx", "FlushFileBuffers"):
            setattr(self, name, _Function(self, getattr(self, f"_{name}")))
        self.CloseHandle = _Function(self, self._close)

    def _CreateFileW(self, path: str, access: int, *rest: Any) -> int:  # noqa: N802 - the DLL's name
        self.faults.called("open", path)
        fd = os.open(self.files[path], os.O_RDWR) if path in self.files else -1
        handle = 100 + len(self.held)
        self.held[handle] = (path, fd)
        return handle

    def _DeviceIoControl(self, handle: Any, code: Any, *rest: Any) -> int:  # noqa: N802
        path, fd = self.held[handle.value]
        self.faults.called("control", f"{code.value:#x} {path}")
        if rest[2] is not None:
            rest[2]._obj.value = os.fstat(fd).st_size
        return 1

    def _SetFilePointerEx(self, handle: Any, offset: Any, *rest: Any) -> int:  # noqa: N802
        os.lseek(self.held[handle.value][1], offset.value, os.SEEK_SET)
        return 1

    def _WriteFile(self, handle: Any, buffer: Any, length: Any, done: Any, overlapped: None) -> int:  # noqa: N802
        self.faults.called("write")
        done._obj.value = os.write(self.held[handle.value][1], bytes(buffer._obj)[: self.faults.most(length.value)])
        return 1

    def _ReadFile(self, handle: Any, buffer: Any, length: Any, done: Any, overlapped: None) -> int:  # noqa: N802
        self.faults.called("read")
        fd = self.held[handle.value][1]
        # Unlike a file, a disk cannot be read past its end.
        if os.lseek(fd, 0, os.SEEK_CUR) + length.value > os.fstat(fd).st_size:
            raise OSError(errno.EINVAL, "past the end")
        came = os.read(fd, self.faults.most(length.value))
        ctypes.memmove(buffer._obj, came, len(came))
        done._obj.value = len(came)
        return 1

    def _FlushFileBuffers(self, handle: Any) -> int:  # noqa: N802
        self.faults.called("sync")
        return 1

    def _close(self, handle: Any) -> int:
        path, fd = self.held[handle.value]
        self.faults.called("close", path)
        if fd >= 0:
            os.close(fd)
        return 1


class _Function:
    """A function of a DLL: it takes types for its arguments, and fails by its answer and the last error."""

    restype: Any = None
    argtypes: Any = None

    def __init__(self, dll: Kernel32Dll, call: Any) -> None:
        self.dll = dll
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self.call(*arguments)
        except OSError as error:
            self.dll.error = _CODES[error.errno or errno.EIO]
            # An invalid handle is -1, which ctypes hands on without its sign.
            return ctypes.c_void_p(-1).value if self.call == self.dll._CreateFileW else 0


class Loader:
    """The module ctypes, as it is on Windows."""

    def __init__(self, dll: Kernel32Dll) -> None:
        self.dll = dll

    def WinDLL(self, name: str, *, use_last_error: bool) -> Any:  # noqa: N802 - the name in ctypes
        assert name == "kernel32"
        assert use_last_error
        return self.dll

    def get_last_error(self) -> int:
        return self.dll.error


def kernel32(faults: Faults, files: dict[str, str]) -> winapi.Kernel32:
    """Return the real wrapper over a DLL that acts on files."""
    return winapi.Kernel32(Loader(Kernel32Dll(faults, files)))
