"""Burn many cards side by side from one read of the image, and verify each by reading it back.

A card's first block, with its partition table, is zeros until all else is written and verified: a half-written card
never boots. A card that fails, is pulled out or hangs ends alone, with its reason.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from picluster.cards import verify
from picluster.cards.source import Buffers, Chunk, Loan, Source, aligned
from picluster.cards.target import ALIGNMENT
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from picluster.cards.bmap import Bmap
    from picluster.cards.image import Image
    from picluster.cards.overlay import Patch
    from picluster.cards.target import Medium, Target

# Cards that are read back in the same moment; beyond that they take turns, buffer by buffer.
_READING = 32
# A card reader's own time-outs end within half a minute; what takes longer than this does not come back. To write down
# what it has buffered a reader may take its time.
STALL_S = 60.0
_SYNC_STALLS = 10
_INTERRUPTED = "the burn was interrupted"


@dataclass(frozen=True)
class Card:
    """One card to burn.

    ``open`` is called in the card's own thread when the burn begins; the capacity is in bytes, None for a file.
    """

    name: str
    place: str
    open: Callable[[], Target]
    patches: Sequence[Patch]
    capacity: int | None = None


@dataclass(frozen=True)
class Result:
    """How a card ended; error is empty if it is good, and ``broken_image`` says that the image caused it."""

    name: str
    place: str
    error: str
    broken_image: bool = False


@dataclass(frozen=True)
class Options:
    """How to burn.

    With a block map only what it says is written. ``sparse`` says that a card is a new file, in which long runs of
    zeros become holes. A card that takes or gives no data for ``stall`` seconds is given up.
    """

    bmap: Bmap | None = None
    verify: bool = True
    sparse: bool = True
    stall: float = STALL_S


class Watcher:
    """Receives progress and does nothing with it. Its methods are called from several threads."""

    def card(self, name: str, state: str, done: int = 0, total: int = 0, detail: str = "") -> None:
        """Report the progress of a card.

        The state is writing, syncing, verifying, done or failed; the detail says why. Amounts are bytes, the total as
        far as the image's partition table tells.
        """


class _Writer(threading.Thread):
    """Burns one card from its queue: chunks, then True (the image is complete) or the reason why it is not."""

    def __init__(self, card: Card, source: Source, options: Options, watcher: Watcher, reading: Buffers) -> None:
        super().__init__(name=f"card-{card.name}", daemon=True)
        self.card = card
        self.error = ""
        self.ended = False
        # Not join(): one that Ctrl-C interrupts takes a running thread for one that is over, up to Python 3.12.
        self.over = threading.Event()
        self._source = source
        self._options = options
        self._watcher = watcher
        self._loan = Loan(reading)
        self._queue: SimpleQueue[Chunk | str | bool] = SimpleQueue()
        self._cancelled = ""
        self._ending = threading.Lock()
        # While it waits for its device: until when, and with which chunk.
        self._deadline: float | None = None
        self._held: Chunk | None = None

    # For the reader

    def feed(self, chunk: Chunk) -> None:
        """Queue a chunk; a card that has ended releases it at once."""
        chunk.hold()
        self._queue.put(chunk)
        if self.ended:
            self._drain()

    def end(self, how: str | bool) -> None:  # noqa: FBT001 - True, or why the image is not complete
        """End the queue."""
        if isinstance(how, str):
            self._cancelled = self._cancelled or how
        self._queue.put(how)

    def give_up_if_stuck(self) -> None:
        """End a card whose device does not respond; its thread may hang in the kernel forever."""
        deadline = self._deadline
        if self.ended or deadline is None or time.monotonic() < deadline:
            return
        held = self._held
        self._end(f"{self.card.place} does not respond; take it out")
        if held:
            held.lose()
        self._loan.lose()
        self._drain()

    # The thread itself

    def run(self) -> None:
        """Burn; keep the error instead of raising, so that other cards go on."""
        error = ""
        try:
            with self.waiting():
                target = self.card.open()
            with target:
                self._burn(target)
        except OSError as problem:
            error = f"{self.card.place}: {problem.strerror or problem}"
        except PiclusterError as problem:
            error = str(problem)
        except Exception as problem:  # noqa: BLE001 - a bug, which must not stop the other cards
            error = f"{self.card.place}: internal error ({type(problem).__name__}: {problem}); please report it"
            # Prints the traceback, as for any other thread.
            threading.excepthook(threading.ExceptHookArgs((type(problem), problem, problem.__traceback__, self)))
        finally:
            self._end((error and self._cancelled) or error)
            self._drain()
            self.over.set()

    @contextlib.contextmanager
    def waiting(self, stalls: int = 1) -> Iterator[None]:
        """Note that the device is busy, and for how many stalls it may be."""
        self._deadline = time.monotonic() + stalls * self._options.stall
        try:
            yield
        finally:
            self._deadline = None

    def _end(self, error: str) -> None:
        with self._ending:
            if self.ended:
                return
            self.error = error
            self.ended = True
        self._tell("failed" if error else "done", detail=error)

    def _tell(self, state: str, done: int = 0, total: int = 0, detail: str = "") -> None:
        # Who watches must not end a card: his terminal may be gone.
        with contextlib.suppress(Exception):
            self._watcher.card(self.card.name, state, done, total, detail)

    def _drain(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return
            if isinstance(item, Chunk):
                item.release()

    def _step(self, state: str, done: int) -> None:
        if self.ended or self._cancelled:
            raise PiclusterError(self._cancelled or self.error)
        self._tell(state, done, self._source.image.end)

    def _burn(self, raw: Target) -> None:
        needed = self._source.image.end
        if raw.capacity is not None and raw.capacity < needed:
            raise PiclusterError(f"{raw.name} holds {raw.capacity} bytes, the image needs {needed}: take a larger card")
        # The disk that an image file lies on may be throttled for minutes; it does not hang.
        target: Medium = raw if raw.fresh else _Timed(raw, self)
        self._step("writing", 0)
        while isinstance(item := self._queue.get(), Chunk):
            self._held = item
            try:
                self._write(target, item)
            finally:
                self._held = None
                item.release()
        for patch in self.card.patches:
            self._step("writing", needed)
            _put(target, patch.offset, patch.new)
        self._step("syncing", needed)
        target.sync()
        first = self._source.first
        if self._options.verify:
            # Until now the first block is zeros, in the pieces too.
            step = partial(self._step, "verifying")
            verify.pieces(target, self._source.pieces, self.card.patches, self._loan, step)
        self._step("syncing", needed)
        _put(target, 0, first)
        target.sync()
        if self._options.verify:
            verify.data(target, 0, first)
        self._step("syncing", needed)
        target.finish(self._source.length)

    def _write(self, target: Medium, chunk: Chunk) -> None:
        if chunk.offset == 0 and not target.fresh:
            # Whatever a block map says: the old partition table goes before anything else comes.
            _put(target, 0, bytes(ALIGNMENT))
        for begin, end in chunk.filled if target.fresh else chunk.mapped:
            self._step("writing", chunk.offset + begin)
            target.write(chunk.offset + begin, chunk.view[begin:end])


class _Timed:
    """A card that notes when its device is busy, and accepts no bytes beyond its end.

    The image's last block is filled up with zeros, and a card may end within it.
    """

    def __init__(self, target: Medium, writer: _Writer) -> None:
        self.name, self.capacity, self.fresh = target.name, target.capacity, target.fresh
        self._target = target
        self._writer = writer

    def write(self, offset: int, data: memoryview) -> None:
        with self._writer.waiting():
            self._target.write(offset, data if self.capacity is None else data[: self.capacity - offset])

    def read(self, offset: int, buffer: memoryview) -> int:
        with self._writer.waiting():
            return self._target.read(offset, buffer)

    def sync(self) -> None:
        with self._writer.waiting(_SYNC_STALLS):
            self._target.sync()

    def finish(self, length: int) -> None:
        with self._writer.waiting(_SYNC_STALLS):
            self._target.finish(length)


def _put(target: Medium, offset: int, data: bytes) -> None:
    view = aligned(len(data))
    view[:] = data
    target.write(offset, view)


def burn(
    image: Image, cards: Sequence[Card], options: Options | None = None, watcher: Watcher | None = None
) -> list[Result]:
    """Burn cards side by side.

    Return how each card ended, in order; a bad card or a source that breaks off is in the results and raises nothing.
    KeyboardInterrupt is raised after all cards were ended; those that were not complete do not boot.
    """
    options, watcher = options or Options(), watcher or Watcher()
    # What an image has behind its last partition is dropped where a card ends before it.
    room = [card.capacity for card in cards if card.capacity is not None and card.capacity >= image.end]
    source = Source(image, options.bmap, options.sparse, options.verify, min(room, default=None))
    reading = Buffers(_READING, verify.STRETCH)
    writers = [_Writer(card, source, options, watcher, reading) for card in cards]
    try:
        for writer in writers:
            writer.start()
        how = _feed(source, writers)
        for writer in writers:
            writer.end(how)
        _wait(writers)
    except BaseException:
        for writer in writers:
            writer.end(_INTERRUPTED)
        _wait(writers)
        raise
    return [Result(writer.card.name, writer.card.place, writer.error, writer.error == how) for writer in writers]


def _feed(source: Source, writers: Sequence[_Writer]) -> str | bool:
    """Hand the image to all writers; return True, or why it broke off."""

    def unstick() -> None:
        for writer in writers:
            writer.give_up_if_stuck()

    try:
        for chunk in source.chunks(unstick):
            for writer in writers:
                writer.feed(chunk)
            chunk.release()
            if all(writer.ended for writer in writers):
                break
    except PiclusterError as error:
        return str(error)
    return True


def _wait(writers: Sequence[_Writer]) -> None:
    # Ctrl-C may have come before all were started.
    for writer in (writer for writer in writers if writer.ident is not None):
        while not writer.ended and not writer.over.wait(timeout=0.5):
            for other in writers:
                other.give_up_if_stuck()
        # It has said how it ended and is about to return, unless it was given up.
        writer.over.wait(timeout=1.0)
