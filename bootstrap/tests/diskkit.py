"""For the tests of devices: devices in one line, recorded answers, real loop devices and memory that disks accept."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from picluster.devices import Device

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = Path(__file__).parent / "cases" / "devices"
ROOT = os.name == "posix" and os.geteuid() == 0


def device(path: str = "/dev/sdb", **changes: Any) -> Device:
    """Return an empty card in a reader, but for these changes."""
    fields: dict[str, Any] = {
        "path": path,
        "size": 32_000_000_000,
        "model": "Generic SD/MMC",
        "serial": "058F63666485",
        "removable": True,
        "system": False,
        "read_only": False,
        "mounts": (),
        "contents": "",
        "sequence": "",
    }
    return Device(**{**fields, **changes})


def recorded(name: str) -> Any:
    """Return a recorded JSON answer."""
    return json.loads((CASES / name).read_text(encoding="utf-8"))


def aligned(data: bytes) -> memoryview:
    """Return these bytes where a raw disk takes them from: at the start of a page."""
    pages = mmap.mmap(-1, max(len(data), mmap.PAGESIZE))
    pages[: len(data)] = data
    return memoryview(pages)[: len(data)]


def blank(size: int) -> memoryview:
    """Return a buffer that a raw disk reads into."""
    return aligned(bytes(size))


@contextmanager
def loop(file: Path, *options: str) -> Iterator[str]:
    """Attach a file as a loop device; needs root."""
    told = subprocess.run(
        ["losetup", "--find", "--show", *options, str(file)], check=True, capture_output=True, text=True
    )
    path = told.stdout.strip()
    try:
        yield path
    finally:
        subprocess.run(["losetup", "--detach", path], check=True)


@contextmanager
def mounted(source: str, point: Path, *options: str) -> Iterator[Path]:
    """Mount; needs root. Who unmounts it in between leaves nothing to do."""
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", *options, source, str(point)], check=True)
    try:
        yield point
    finally:
        while point.is_mount():
            subprocess.run(["umount", str(point)], check=True)
