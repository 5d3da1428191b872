"""Fixtures: cards, keys and judges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cardkit import BOOT_START, ROOT_SIZE, STOCK, Judge, make_partition, mbr, noise, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return Judge(tmp_path)


@pytest.fixture
def make_card(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of card images: an MBR, a gap, the FAT partition, a root partition of random bytes."""

    def make(
        name: str = "card.img",
        files: Mapping[str, bytes] | None = None,
        mkfs: tuple[object, ...] = ("-F", 32, "-s", 1, "-n", "bootfs"),
        kind: int = 0x0C,
    ) -> Path:
        part = make_partition(tmp_path / f"{name}.fat", STOCK if files is None else files, *mkfs)
        boot = part.read_bytes()
        card = tmp_path / name
        with card.open("wb") as stream:
            stream.write(mbr((kind, BOOT_START, len(boot)), (0x83, BOOT_START + len(boot), ROOT_SIZE)))
            stream.seek(1 << 20)
            stream.write(b"between the table and the partition")
            stream.seek(BOOT_START)
            stream.write(boot)
            # Random bytes, a long hole and an end that fills no block.
            stream.write(noise(2, ROOT_SIZE // 2))
            stream.truncate(BOOT_START + len(boot) + ROOT_SIZE + 700)
        part.unlink()
        return card

    return make


@pytest.fixture
def public_key(tmp_path: Path) -> Path:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@home", "-f", tmp_path / "key")
    return tmp_path / "key.pub"
