"""For the tests: card images made by the tools that the real ones are made by, and judges that are not our own code."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def noise(seed: int, size: int) -> bytes:
    """Return bytes that look like nothing, always the same for a seed."""
    return hashlib.shake_128(bytes([seed])).digest(size)


CMDLINE = (
    "console=serial0,115200 console=tty1 root=PARTUUID=4c4e106f-02 rootfstype=ext4 fsck.repair=yes rootwait resize"
)
STOCK = {
    "cmdline.txt": CMDLINE.encode() + b"\n",
    "config.txt": b"# For more options see the documentation\narm_64bit=1\n",
    "issue.txt": b"Raspberry Pi reference 2026-06-18\nGenerated using pi-gen, stage2\n",
    "user-data": b"#cloud-config\n",
    "meta-data": b"dsmode: local\ninstance_id: rpios-image\n",
    "kernel8.img": noise(1, 3_000_000),
    "overlays/a-long-overlay-name.dtbo": b"overlay",
}
BOOT_START = 4 << 20
# Just enough for a FAT32 that mtools takes for one.
PARTITION = 36 << 20
ROOT_SIZE = 6 << 20


def run(*command: object) -> str:
    """Run a program that must succeed; return what it says."""
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


@dataclass
class Judge:
    """dosfstools and mtools, looking at the boot partition of a card image."""

    tmp_path: Path

    def partition(self, card: Path, offset: int = BOOT_START, size: int = PARTITION) -> Path:
        """Cut the boot partition out of a card."""
        part = self.tmp_path / f"{card.name}.boot"
        with card.open("rb") as stream:
            stream.seek(offset)
            part.write_bytes(stream.read(size))
        return part

    def is_sound(self, part: Path) -> None:
        """Ask fsck.vfat."""
        said = run("fsck.vfat", "-n", "-v", part).replace(str(part), "")
        for complaint in ("wrong", "differ", "orphan", "Bad", "Auto-", "contains", "Dirty", "unused"):
            if complaint in said.replace("Checking for unused clusters", ""):
                raise AssertionError(said)

    def files(self, part: Path) -> dict[str, bytes]:
        """Read all files by mcopy."""
        folder = part.with_suffix(".files")
        folder.mkdir()
        run("mcopy", "-s", "-n", "-Q", "-i", part, "::*", folder)
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        run("rm", "-r", folder)
        return found


def make_partition(path: Path, files: Mapping[str, bytes], *mkfs: object, size: int = PARTITION) -> Path:
    """Make a FAT partition with these files by mkfs.vfat and mcopy."""
    with path.open("wb") as stream:
        stream.truncate(size)
    run("mkfs.vfat", *mkfs, path)
    for folder in sorted({name.rpartition("/")[0] for name in files} - {""}):
        run("mmd", "-i", path, f"::{folder}")
    for name, data in files.items():
        source = path.with_suffix(".part")
        source.write_bytes(data)
        run("mcopy", "-i", path, source, f"::{name}")
    return path


def mbr(*partitions: tuple[int, int, int]) -> bytes:
    """Return an MBR of (type, first byte, bytes)."""
    table = b"".join(
        struct.pack("<B3sB3sII", 0, b"\0\0\0", kind, b"\0\0\0", start // 512, size // 512)
        for kind, start, size in partitions
    )
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"
