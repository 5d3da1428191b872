"""Show progress: bars on a terminal, occasional lines elsewhere, events for programs."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.console import Console

# Shortest time between two lines where there is no terminal, and between two events.
_QUIET_S = 5.0
_ENDED = ("done", "failed")


class Outputs(Protocol):
    """Where a board writes; see picluster.console.report.Report."""

    json: bool
    console: Console

    @property
    def live(self) -> bool: ...  # noqa: D102 - as there
    def say(self, event: str, line: str, /, **data: object) -> None: ...  # noqa: D102
    def aside(self, line: str) -> None: ...  # noqa: D102


class _Amount(ProgressColumn):
    """The amount, or the speed if the amount is in bytes."""

    def __init__(self, *, in_bytes: bool) -> None:
        super().__init__()
        self._in_bytes = in_bytes

    def render(self, task: Task) -> Text:
        """Return the cell."""
        if task.total is None or task.fields["state"] in _ENDED:
            return Text("")
        if not self._in_bytes:
            return Text(f"{int(task.completed)} of {int(task.total)}")
        return Text(f"{decimal(int(task.speed))}/s" if task.speed else "")


@dataclass
class _Row:
    """The progress of one row."""

    state: str = "waiting"
    percent: int = 0


class Board:
    """A display of progress; its methods may be called from any thread.

    On a terminal it shows a table of bars; elsewhere a line every few seconds at most, and one for each row that ends;
    to programs it sends ``progress`` events with the state of each row, and an event for each new state of a row.
    """

    def __init__(self, report: Outputs, title: str, rows: Sequence[str], row_event: str, *, in_bytes: bool) -> None:
        self._report = report
        self._title = title
        self._event = row_event
        self._in_bytes = in_bytes
        self._lock = threading.Lock()
        self._said = time.monotonic()
        self._done = 0.0
        self._stand = {row: _Row() for row in rows}
        self._progress: Progress | None = None
        if report.live:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[state]}"),
                _Amount(in_bytes=in_bytes),
                TimeRemainingColumn(compact=True),
                console=report.console,
            )
            self._all: TaskID = self._progress.add_task(title, total=None, state="")
            self._rows: dict[str, TaskID] = {}
            # More lines than the screen has would scroll away.
            if len(rows) < report.console.height - 2:
                self._rows = {row: self._progress.add_task(f"  {row}", total=None, state="waiting") for row in rows}

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def overall(self, done: float, total: float | None, state: str = "") -> None:
        """Show the progress of all rows together; total is None if unknown."""
        if self._progress:
            self._progress.update(self._all, completed=done, total=total, state=state)
            return
        with self._lock:
            now = time.monotonic()
            if not total or now - self._said < _QUIET_S:
                return
            speed, left = _pace(done - self._done, now - self._said, total - done)
            self._said, self._done = now, done
            rows = {name: {"state": row.state, "percent": row.percent} for name, row in self._stand.items()}
        percent = _percent(done, total)
        if self._report.json:
            data: dict[str, object] = {f"{self._event}s": rows} if rows else {}
            if self._in_bytes:
                data["speed"] = None if speed is None else int(speed)
            eta = None if left is None else int(left)
            self._report.say("progress", "", title=self._title, percent=percent, state=state, eta=eta, **data)
        else:
            shown = f", {decimal(int(speed))}/s" if self._in_bytes and speed else ""
            shown += "" if left is None else f", {_clock(left)} left"
            self._report.aside(f"{self._title}: {percent} %{state and ' ' + state}{shown}")

    def row(self, name: str, state: str, done: float = 0, total: float | None = None, detail: str = "") -> None:
        """Show the progress and state of one row; done and failed are final states."""
        ended = state in _ENDED
        if self._progress and name in self._rows:
            self._progress.update(
                self._rows[name], state=state, completed=1 if ended else done, total=1 if ended else total
            )
            return
        with self._lock:
            before = self._stand.get(name)
            # A failed row keeps its progress.
            percent = 100 if state == "done" else _percent(done, total) if total else before.percent if before else 0
            self._stand[name] = _Row(state, percent)
            if before and before.state == state:
                return
        if self._report.json:
            self._report.say(self._event, "", name=name, state=state, detail=detail)
        elif ended and self._progress:
            self._report.console.print(f"{name}: {state}")
        elif ended:
            self._report.aside(f"{name}: {state}")


def _percent(done: float, total: float) -> int:
    return int(min(1.0, done / total) * 100)


def _pace(went: float, seconds: float, left: float) -> tuple[float, float] | tuple[None, None]:
    """Return the amount per second and the seconds left, if anything went on."""
    if went <= 0 or seconds <= 0:
        return None, None
    return went / seconds, max(0.0, left) * seconds / went


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
