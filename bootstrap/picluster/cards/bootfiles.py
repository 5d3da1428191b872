"""The files at the top of a boot partition: what tells one image from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from picluster.cards.fat import FatVolume

# Bytes. Text files at the top are smaller than this, kernels are larger.
_TEXT_MAX = 1 << 20


@dataclass(frozen=True)
class BootFiles:
    """The top directory of a boot partition: its label, all names, and the contents of the small files by name."""

    label: str
    names: frozenset[str]
    texts: Mapping[str, bytes]

    @classmethod
    def of_volume(cls, volume: FatVolume) -> Self:
        """Read a FAT file system."""
        names = volume.names()
        texts = {name: data for name in names if (data := volume.read_small(name, _TEXT_MAX)) is not None}
        return cls(volume.label, frozenset(names), texts)

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """Read a mounted boot partition."""
        try:
            entries = sorted(folder.iterdir())
            small = [entry for entry in entries if entry.is_file() and entry.stat().st_size <= _TEXT_MAX]
            texts = {entry.name: entry.read_bytes() for entry in small}
        except OSError as error:
            raise PiclusterError(f"the boot folder {folder} cannot be read: {error.strerror}") from error
        if "cmdline.txt" not in texts:
            raise PiclusterError(
                f"{folder} is not a boot partition of a Raspberry Pi system: it has no cmdline.txt; "
                "name the directory where the card's first partition is mounted"
            )
        # Desktops mount a partition under its label.
        return cls(folder.name, frozenset(entry.name for entry in entries), texts)

    def text(self, name: str) -> str:
        """Return a small file's text, empty if there is none."""
        return self.texts.get(name, b"").decode("utf-8", errors="replace")

    def has(self, name: str) -> bool:
        """Return whether this file exists."""
        return name in self.names
