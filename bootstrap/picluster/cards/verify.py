"""Read a card back and compare it with what it must hold: the image, and its own patches."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from picluster.cards.source import aligned, hasher, is_zero
from picluster.cards.target import ALIGNMENT
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from picluster.cards.overlay import Patch
    from picluster.cards.source import Loan, Piece
    from picluster.cards.target import Medium

# What is read at once: enough to keep a card busy, little enough for many cards at a time.
STRETCH = 1 << 20


class _PatchedBlocks:
    """The blocks that differ from the image, looked up by stretches."""

    def __init__(self, patches: Sequence[Patch]) -> None:
        blocks = sorted(block for patch in patches for block in patch.blocks())
        self._offsets = [offset for offset, _, _ in blocks]
        self._blocks = blocks
        self._seen = [False] * len(blocks)

    def within(self, begin: int, end: int) -> list[tuple[int, bytes, bytes]]:
        low, high = bisect_left(self._offsets, begin), bisect_left(self._offsets, end)
        self._seen[low:high] = [True] * (high - low)
        return self._blocks[low:high]

    def unseen(self) -> list[tuple[int, bytes, bytes]]:
        return [block for block, seen in zip(self._blocks, self._seen, strict=True) if not seen]


def _complain(target: Medium, offset: int) -> PiclusterError:
    return PiclusterError(
        f"{target.name} reads back differently from what was written at byte {offset}: "
        "the card is worn out or smaller than it reports; use another one"
    )


def pieces(
    target: Medium,
    expected: Sequence[Piece],
    patches: Sequence[Patch],
    buffers: Loan,
    step: Callable[[int], None],
) -> None:
    """Compare a whole card, which was synced; the error names the first byte of the stretch that differs.

    Buffers of STRETCH bytes are taken and given back stretch by stretch, so that cards share them. ``step`` is told how
    far it is, before each piece; it may raise to end it.
    """
    changed = _PatchedBlocks(patches)
    for piece in expected:
        step(piece.offset)
        hashed = hasher()
        for offset in range(piece.offset, piece.offset + piece.length, STRETCH):
            length = min(STRETCH, piece.offset + piece.length - offset)
            while (buffer := buffers.take(1.0)) is None:
                step(piece.offset)
            try:
                view = _read(target, offset, buffer[:length])
                _undo(changed, target, offset, view)
                if piece.digest is not None:
                    hashed.update(view)
                elif not is_zero(view):
                    raise _complain(target, offset)
            finally:
                buffers.give(buffer)
        if piece.digest is not None and hashed.digest() != piece.digest:
            raise _complain(target, piece.offset)
    # Patches where a block map has nothing.
    for offset, new, _ in changed.unseen():
        data(target, offset, new)


def _read(target: Medium, offset: int, view: memoryview) -> memoryview:
    count = target.read(offset, view)
    if count < len(view):
        if not target.fresh and offset + count != target.capacity:
            raise _complain(target, offset + count)
        # A new file whose last bytes are zeros ends before them until it gets its length, and a card may end within
        # the last block, whose rest is then zeros in the buffer that it was written from.
        view[count:] = bytes(len(view) - count)
    return view


def _undo(changed: _PatchedBlocks, target: Medium, offset: int, view: memoryview) -> None:
    """Compare the patches within and put the image's bytes in their place: the rest is then compared as the image's."""
    for at, new, stock in changed.within(offset, offset + len(view)):
        block = view[at - offset :][:ALIGNMENT]
        if bytes(block) != new:
            raise _complain(target, at)
        block[:] = stock


def data(target: Medium, offset: int, expected: bytes) -> None:
    """Compare one stretch."""
    view = aligned(len(expected))
    if target.read(offset, view) != len(expected) or bytes(view) != expected:
        raise _complain(target, offset)
