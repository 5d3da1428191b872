"""The few calls of Windows that a raw disk needs, by ctypes; the module can be read on any system."""

from __future__ import annotations

import ctypes
import errno
import mmap
from ctypes import wintypes
from typing import Any, Protocol, cast

# <winnt.h>, <fileapi.h>, <winioctl.h>
_GENERIC_READ, _GENERIC_WRITE = 0x80000000, 0x40000000
_SHARE_READ_WRITE = 0x3
_OPEN_EXISTING = 3
_NO_BUFFERING, _WRITE_THROUGH = 0x20000000, 0x80000000
LOCK_VOLUME = 0x00090018
DISMOUNT_VOLUME = 0x00090020
UPDATE_PROPERTIES = 0x00070140
_GET_LENGTH = 0x0007405C
_INVALID = ctypes.c_void_p(-1).value
_FILE_BEGIN = 0
_handle, _dword, _at = ctypes.c_void_p, ctypes.c_uint32, ctypes.byref

# <winerror.h>: what our sentences know, the others are told as their number.
_ERRNO = {
    2: errno.ENOENT,  # FILE_NOT_FOUND
    3: errno.ENOENT,  # PATH_NOT_FOUND
    5: errno.EACCES,  # ACCESS_DENIED
    19: errno.EROFS,  # WRITE_PROTECT
    21: errno.ENODEV,  # NOT_READY
    23: errno.EIO,  # CRC
    27: errno.ENOSPC,  # SECTOR_NOT_FOUND: beyond the end
    32: errno.EBUSY,  # SHARING_VIOLATION
    33: errno.EBUSY,  # LOCK_VIOLATION
    55: errno.ENODEV,  # DEV_NOT_EXIST
    112: errno.ENOSPC,  # DISK_FULL
    170: errno.EBUSY,  # BUSY
    433: errno.ENODEV,  # NO_SUCH_DEVICE
    483: errno.EIO,  # DEVICE_HARDWARE_ERROR
    1110: errno.ENODEV,  # MEDIA_CHANGED
    1112: errno.ENODEV,  # NO_MEDIA_IN_DRIVE
    1117: errno.EIO,  # IO_DEVICE
    1167: errno.ENODEV,  # DEVICE_NOT_CONNECTED
}


class _Loader(Protocol):
    """What ctypes has on Windows only."""

    def WinDLL(self, name: str, *, use_last_error: bool) -> Any: ...  # noqa: ANN401, N802 - its name there
    def get_last_error(self) -> int: ...


class Kernel32:
    """Raw disks and volumes by handle; every error is an OSError with an errno."""

    def __init__(self, loader: _Loader | None = None) -> None:
        self._loader = loader or cast("_Loader", ctypes)
        self._dll = self._loader.WinDLL("kernel32", use_last_error=True)
        # Without it a handle of 64 bits would be cut to an int.
        self._dll.CreateFileW.restype = wintypes.HANDLE
        self._dll.CreateFileW.argtypes = (
            wintypes.LPCWSTR,
            wintypes.DWORD,
            wintypes.DWORD,
            wintypes.LPVOID,
            wintypes.DWORD,
            wintypes.DWORD,
            wintypes.HANDLE,
        )
        for name in ("DeviceIoControl", "ReadFile", "WriteFile", "SetFilePointerEx", "FlushFileBuffers", "CloseHandle"):
            getattr(self._dll, name).restype = wintypes.BOOL

    def open(self, path: str, *, write: bool, direct: bool) -> int:
        """Open a disk or volume by the path that CreateFileW takes; ``direct`` goes past the caches of Windows."""
        access = _GENERIC_READ | (_GENERIC_WRITE if write else 0)
        flags = _NO_BUFFERING | _WRITE_THROUGH if direct else 0
        handle = self._dll.CreateFileW(path, access, _SHARE_READ_WRITE, None, _OPEN_EXISTING, flags, None)
        if handle is None or handle == _INVALID:
            raise self._error()
        return int(handle)

    def control(self, handle: int, code: int) -> None:
        """Send a control code that takes and gives nothing."""
        self._control(handle, code, None, 0)

    def length(self, handle: int) -> int:
        """Return a disk's size in bytes."""
        size = ctypes.c_int64()
        self._control(handle, _GET_LENGTH, _at(size), ctypes.sizeof(size))
        return size.value

    def write(self, handle: int, offset: int, data: memoryview) -> int:
        """Write from the start of the data; return how many bytes were taken."""
        if data.readonly:
            # ctypes has no pointer to these; a map begins at a page, as a raw disk wants it.
            copy = mmap.mmap(-1, len(data))
            copy[:] = data
            data = memoryview(copy)
        self._seek(handle, offset)
        done = wintypes.DWORD()
        buffer = (ctypes.c_char * len(data)).from_buffer(data)
        self._check(self._dll.WriteFile(_handle(handle), _at(buffer), _dword(len(data)), _at(done), None))
        return done.value

    def read(self, handle: int, offset: int, buffer: memoryview) -> int:
        """Read into the start of the buffer; return how many bytes came, 0 at the end."""
        self._seek(handle, offset)
        done = wintypes.DWORD()
        pointer = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        self._check(self._dll.ReadFile(_handle(handle), _at(pointer), _dword(len(buffer)), _at(done), None))
        return done.value

    def flush(self, handle: int) -> None:
        """Flush all writes to the medium."""
        self._check(self._dll.FlushFileBuffers(_handle(handle)))

    def close(self, handle: int) -> None:
        """Close it."""
        self._dll.CloseHandle(_handle(handle))

    def _control(self, handle: int, code: int, answer: Any, size: int) -> None:  # noqa: ANN401 - ctypes has no type
        came = _at(wintypes.DWORD())
        self._check(
            self._dll.DeviceIoControl(_handle(handle), _dword(code), None, _dword(0), answer, _dword(size), came, None)
        )

    def _seek(self, handle: int, offset: int) -> None:
        self._check(self._dll.SetFilePointerEx(_handle(handle), ctypes.c_int64(offset), None, _dword(_FILE_BEGIN)))

    def _check(self, good: int) -> None:
        if not good:
            raise self._error()

    def _error(self) -> ApiError:
        return ApiError(self._loader.get_last_error())


class ApiError(OSError):
    """An error of Windows, under the errno that other systems have for it."""

    def __init__(self, code: int) -> None:
        super().__init__(_ERRNO.get(code, errno.EIO), f"Windows says error {code}")
        self.code = code
