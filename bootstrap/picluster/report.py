"""What the commands say: a live table on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

# Where there is no terminal, and for programs: a line at most so often.
_QUIET_S = 5.0
_ENDED = ("done", "failed")
_ENDLESS = 4096


class Report:
    """Says what happens.

    Results go to standard output, progress to standard error. NO_COLOR is heard by rich.

    Args:
        as_json: One JSON object a line on standard output, and nothing else.
        out: Standard output.
        err: Standard error.
    """

    def __init__(self, *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self.json = as_json
        self._lock = threading.Lock()
        self.console = Console(file=err or sys.stderr, highlight=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        """Whether somebody watches a terminal."""
        return self.console.is_terminal and not self.json

    def say(self, event: str, line: str, /, **data: object) -> None:
        """Say one thing: a line for people, or an event for programs."""
        with self._lock:
            said = json.dumps({"event": event, **data}) if self.json else line
            if said:
                self._out.write(said + "\n")
                self._out.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show a table to people; programs are told its rows by say()."""
        if self.json:
            return
        table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for row in rows:
            # As text, for rich would take what stands in brackets for markup.
            table.add_row(*map(Text, row))
        with self._lock:
            # Where nobody watches there is no width to keep to: each row stays one line.
            Console(file=self._out, highlight=False, width=None if self._out.isatty() else _ENDLESS).print(table)
            self._out.flush()

    def board(self, title: str, rows: Sequence[str] = (), *, row_event: str = "row", in_bytes: bool = True) -> Board:
        """Make a display of progress: one bar over all, and one for each row; use it as a context.

        Args:
            title: What goes on.
            rows: Names of the things that go on side by side.
            row_event: What programs are told a row is: card, node.
            in_bytes: Whether amounts are bytes, shown with speed and time to go.
        """
        return Board(self, title, rows, row_event, in_bytes=in_bytes)


class _Amount(ProgressColumn):
    """How much, and how fast if it is bytes."""

    def __init__(self, *, in_bytes: bool) -> None:
        super().__init__()
        self._in_bytes = in_bytes

    def render(self, task: Task) -> Text:
        """Draw it."""
        if task.total is None or task.fields["state"] in _ENDED:
            return Text("")
        if not self._in_bytes:
            return Text(f"{int(task.completed)} of {int(task.total)}")
        return Text(f"{decimal(int(task.speed))}/s" if task.speed else "")


class Board:
    """A display of progress; its methods may be called from any thread.

    On a terminal it is a table of bars; elsewhere a line at most every few seconds, and one for each row that ends;
    for programs ``progress`` events as often, and an event for each state a row comes to.
    """

    def __init__(self, report: Report, title: str, rows: Sequence[str], row_event: str, *, in_bytes: bool) -> None:
        self._report = report
        self._title = title
        self._event = row_event
        self._lock = threading.Lock()
        self._said = time.monotonic()
        self._states: dict[str, str] = {}
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
            # More lines than a screen has would scroll away.
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
        """Show how far all of it is; total None means that nobody knows."""
        if self._progress:
            self._progress.update(self._all, completed=done, total=total, state=state)
            return
        with self._lock:
            now = time.monotonic()
            if not total or now - self._said < _QUIET_S:
                return
            self._said = now
        percent = int(min(1.0, done / total) * 100)
        if self._report.json:
            self._report.say("progress", "", title=self._title, percent=percent, state=state)
        else:
            self._report.console.print(f"{self._title}: {percent} %{state and ' ' + state}")

    def row(self, name: str, state: str, done: float = 0, total: float | None = None, detail: str = "") -> None:
        """Show how far one row is and in which state (done and failed are the last ones)."""
        if self._progress and name in self._rows:
            ended = state in _ENDED
            self._progress.update(
                self._rows[name], state=state, completed=1 if ended else done, total=1 if ended else total
            )
            return
        with self._lock:
            if self._states.get(name) == state:
                return
            self._states[name] = state
        if self._report.json:
            self._report.say(self._event, "", name=name, state=state, detail=detail)
        elif state in _ENDED:
            self._report.console.print(f"{name}: {state}")
