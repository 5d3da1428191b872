"""The system that this machine runs, which lists and opens its disks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from picluster.devices import Platform


def platform(name: str = sys.platform) -> Platform:
    """Return the module of this system, by its name in sys.platform."""
    # Imported here, because a Python on Linux may lack what the module of Windows needs (ctypes).
    if name == "linux":
        from picluster.devices.linux import Linux  # noqa: PLC0415 - each loads only on its own system

        return Linux()
    if name == "darwin":
        from picluster.devices.macos import MacOS  # noqa: PLC0415

        return MacOS()
    if name == "win32":
        from picluster.devices.windows import Windows  # noqa: PLC0415

        return Windows()
    raise PiclusterError(f"disks of {name} are not supported, only Linux, macOS and Windows; write image files with -o")
