"""Changes to a card as patches: the same bytes as writing to the card itself."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING

import pytest
from cardkit import BOOT_START, PARTITION, STOCK, Judge, noise
from hypothesis import given
from hypothesis import strategies as st

from picluster.cards.image import open_image
from picluster.cards.overlay import _Overlay, patches
from picluster.cards.target import ALIGNMENT
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 5 * ALIGNMENT + 77
WRITES = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 3 * ALIGNMENT)), max_size=8)


@given(writes=WRITES, reads=WRITES)
def test_it_reads_what_was_written_and_below_stays_as_it_was(
    writes: list[tuple[int, int]], reads: list[tuple[int, int]]
) -> None:
    stock = noise(3, SIZE)
    below = io.BytesIO(stock)
    overlay, plain = _Overlay(below), bytearray(stock)
    for number, (offset, length) in enumerate(writes):
        data = noise(number, length)[: SIZE - offset]
        overlay.seek(offset)
        overlay.write(data)
        plain[offset : offset + len(data)] = data
    for offset, length in reads:
        overlay.seek(offset)
        assert overlay.read(min(length, SIZE - offset)) == plain[offset : offset + length]
    assert below.getvalue() == stock


def test_patches_are_whole_blocks_of_what_changed_and_no_more(
    make_card: Callable[..., Path], tmp_path: Path, judge: Judge
) -> None:
    path = make_card()
    files = {"ssh": b"", "meta-data": noise(4, 30_000), "user-data": STOCK["user-data"]}
    with open_image(path) as image:
        made = patches(image.volume(), files)
    card = shutil.copy(path, tmp_path / "patched.img")
    with card.open("r+b") as stream:
        for patch in made:
            assert patch.offset % ALIGNMENT == len(patch.new) % ALIGNMENT == 0
            assert len(patch.new) == len(patch.stock)
            assert patch.offset >= BOOT_START
            assert patch.end <= BOOT_START + PARTITION
            stream.seek(patch.offset)
            assert stream.read(len(patch.stock)) == patch.stock
            stream.seek(patch.offset)
            stream.write(patch.new)
    part = judge.partition(card)
    judge.is_sound(part)
    assert judge.files(part) == STOCK | files
    assert sum(len(patch.new) for patch in made) < 30_000 + 40 * ALIGNMENT


def test_a_full_partition_is_said_before_anything_is_written(make_card: Callable[..., Path]) -> None:
    path = make_card()
    with open_image(path) as image, pytest.raises(PiclusterError, match="full"):
        patches(image.volume(), {"big": bytes(PARTITION)})
