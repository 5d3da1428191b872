"""What the commands say: a live table on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from picluster.burn import Watcher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_QUARTERS = 4


class Report(Watcher):
    """Says what happens.

    Results go to standard output, progress to standard error. NO_COLOR is heard by rich.

    Args:
        as_json: One JSON object a line on standard output, and nothing else.
        out: Standard output.
        err: Standard error.
    """

    def __init__(self, *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._json = as_json
        self._lock = threading.Lock()
        self._console = Console(file=err or sys.stderr, highlight=False)
        self._live = self._console.is_terminal and not as_json
        self._progress: Progress | None = None
        self._reading: TaskID | None = None
        self._cards: dict[str, TaskID] = {}
        self._quarter = 0

    def say(self, event: str, line: str, /, **data: object) -> None:
        """Say one thing: a line for people, or an event for programs."""
        with self._lock:
            said = json.dumps({"event": event, **data}) if self._json else line
            if said:
                self._out.write(said + "\n")
                self._out.flush()

    def start(self, source: str, cards: Sequence[str]) -> Self:
        """Prepare to show the burning of these cards; use it as a context."""
        if self._live:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[state]}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._reading = self._progress.add_task(source, total=1.0, state="reading")
            # More lines than a screen has would scroll away.
            if len(cards) < self._console.height - 2:
                self._cards = {
                    name: self._progress.add_task(f"  {name}", total=None, state="waiting") for name in cards
                }
        return self

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def read(self, fraction: float) -> None:
        """Show how much of the source was read."""
        if self._progress and self._reading is not None:
            self._progress.update(self._reading, completed=fraction)
            return
        quarter = int(fraction * _QUARTERS)
        if quarter > self._quarter:
            self._quarter = quarter
            percent = quarter * 100 // _QUARTERS
            if self._json:
                self.say("progress", "", percent=percent)
            else:
                self._console.print(f"read {percent} % of the image")

    def card(self, name: str, state: str, detail: str = "") -> None:
        """Show a card's state."""
        if self._json:
            self.say("card", "", name=name, state=state, detail=detail)
        elif self._progress and name in self._cards:
            finished = state in ("done", "failed")
            total = 1.0 if finished else None
            self._progress.update(self._cards[name], state=state, total=total, completed=1.0 if finished else 0.0)
        elif state not in ("writing", "verifying"):
            self._console.print(f"{name}: {state}")
