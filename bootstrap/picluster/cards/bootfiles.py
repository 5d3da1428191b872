"""The files of a boot partition: what tells one image from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from picluster.cards.fat import FatVolume

# Bytes. Text files are smaller than this, kernels are larger.
_TEXT_MAX = 1 << 20
# What firmware and kernel alone read, hundreds of files.
_BINARY = (".dtb", ".dtbo", ".dat", ".elf", ".bin")


@dataclass(frozen=True)
class BootFiles:
    """A boot partition: its label, the paths of all files (/ between directories), and the small ones' contents."""

    label: str
    names: frozenset[str]
    texts: Mapping[str, bytes]

    @classmethod
    def of_volume(cls, volume: FatVolume) -> Self:
        """Read a FAT file system."""
        sizes = volume.sizes()
        texts = {path: volume.read(path) for path, size in sizes.items() if _is_text(path, size)}
        return cls(volume.label, frozenset(sizes), texts)

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """Read a mounted boot partition."""
        try:
            # Before anything below is looked at: the folder may be a whole home.
            if not {entry.name for entry in folder.iterdir()} & {"cmdline.txt", "config.txt"}:
                raise PiclusterError(
                    f"{folder} is not a boot partition of a Raspberry Pi system: it has no cmdline.txt and no "
                    "config.txt; name the directory where the card's first partition is mounted"
                )
            files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
            texts = {name: path.read_bytes() for name, path in files.items() if _is_text(name, path.stat().st_size)}
        except OSError as error:
            raise PiclusterError(f"the boot folder {folder} cannot be read: {error.strerror}") from error
        # Desktops mount a partition under its label.
        return cls(folder.name, frozenset(files), texts)

    def text(self, name: str) -> str:
        """Return a small file's text, empty if there is none."""
        return self.texts.get(name, b"").decode("utf-8", errors="replace")

    def has(self, name: str) -> bool:
        """Return whether this file exists."""
        return name in self.names


def _is_text(path: str, size: int) -> bool:
    return size <= _TEXT_MAX and not path.endswith(_BINARY)
