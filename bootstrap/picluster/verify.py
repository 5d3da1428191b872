"""Read a card back and compare it with what it must hold: the image, and its own patches."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError
from picluster.source import aligned, digest, is_zero
from picluster.target import ALIGNMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from picluster.overlay import Patch
    from picluster.source import Buffers, Piece
    from picluster.target import Medium


class _Blocks:
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
        "the card is worn out or not as large as it says; take another"
    )


def _matches(view: memoryview, piece: Piece) -> bool:
    return is_zero(view) if piece.digest is None else digest(view) == piece.digest


def pieces(
    target: Medium,
    expected: Sequence[Piece],
    patches: Sequence[Patch],
    buffers: Buffers,
    step: Callable[[int], None],
) -> None:
    """Compare a whole card.

    Args:
        target: The card, synced.
        expected: The image's pieces.
        patches: What the card holds that the image does not.
        buffers: Taken from and given back piece by piece, so that cards share them.
        step: Told how far it is, before each piece; may raise to end it.

    Raises:
        PiclusterError: naming the first byte of the stretch that differs.
        OSError: if the card cannot be read.
    """
    changed = _Blocks(patches)
    for piece in expected:
        step(piece.offset)
        buffer = buffers.take()
        if buffer is None:
            raise AssertionError("a take without a time limit ends with a buffer")
        view = buffer[: piece.length]
        try:
            count = target.read(piece.offset, view)
            if count < piece.length:
                if not target.fresh:
                    raise _complain(target, piece.offset + count)
                # A new file whose last bytes are zeros ends before them until it gets its length.
                view[count:] = bytes(piece.length - count)
            for offset, new, stock in changed.within(piece.offset, piece.offset + piece.length):
                block = view[offset - piece.offset :][:ALIGNMENT]
                if bytes(block) != new:
                    raise _complain(target, offset)
                # With the patch undone the rest is compared as the image's.
                block[:] = stock
            if not _matches(view, piece):
                raise _complain(target, piece.offset)
        finally:
            buffers.give(buffer)
    # Patches where a block map has nothing.
    for offset, new, _ in changed.unseen():
        data(target, offset, new)


def data(target: Medium, offset: int, expected: bytes) -> None:
    """Compare one stretch.

    Raises:
        PiclusterError: if it differs.
        OSError: if it cannot be read.
    """
    view = aligned(len(expected))
    if target.read(offset, view) != len(expected) or bytes(view) != expected:
        raise _complain(target, offset)
