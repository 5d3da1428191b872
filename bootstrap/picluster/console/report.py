"""What the commands say: a live table on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from picluster.console.bars import Board
from picluster.console.streams import Outlet, silence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ENDLESS = 4096


class _Console(Console):
    """Goes on in silence when nobody reads any more; rich's own would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        silence(self.file)  # type: ignore[arg-type] # rich says IO[str]


class Report:
    """Says what happens.

    Results go to standard output, progress and what went wrong to standard error. NO_COLOR is heard by rich. A stream
    that is lost on the way (``| head``) raises nothing: the cards are finished, and the exit code tells of them.

    Args:
        as_json: One JSON object a line on standard output, and nothing else there.
        out: Standard output.
        err: Standard error.
    """

    def __init__(self, *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = Outlet(out or sys.stdout)
        self._err = Outlet(err or sys.stderr)
        self.json = as_json
        self.console: Console = _Console(file=self._err.stream, highlight=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        """Whether somebody watches a terminal."""
        return self.console.is_terminal and not self.json

    @property
    def problem(self) -> str:
        """Why results could not be written; empty if they were, or if their reader has gone."""
        return self._out.problem

    def say(self, event: str, line: str, /, **data: object) -> None:
        """Say one thing: a line for people, or an event for programs."""
        said = json.dumps({"event": event, **data}) if self.json else line
        if said:
            self._out.write(said + "\n")

    def note(self, text: str) -> None:
        """Say what the user may want to know."""
        self.say("note", f"note: {text}", text=text)

    def error(self, text: str, program: str = "") -> None:
        """Say why something went wrong: a sentence on standard error, and an event for programs."""
        if self.json:
            self.say("error", "", text=text)
        self.aside(f"{program}: {text}" if program else text)

    def aside(self, line: str) -> None:
        """Write a line to standard error, which is for people alone."""
        self._err.write(line + "\n")

    def ask(self, question: str) -> None:
        """Write a question to standard error; the answer is typed on its line."""
        self._err.write(question)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show a table to people; programs are told its rows by say()."""
        if self.json:
            return
        table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for row in rows:
            # As text, for rich would take what stands in brackets for markup.
            table.add_row(*map(Text, row))
        out = self._out.stream
        # Where nobody watches there is no width to keep to: each row stays one line.
        console = Console(file=out, highlight=False, width=None if out.isatty() else _ENDLESS)
        with console.capture() as drawn:
            console.print(table)
        self._out.write(drawn.get())

    def board(self, title: str, rows: Sequence[str] = (), *, row_event: str = "row", in_bytes: bool = True) -> Board:
        """Make a display of progress: one bar over all, and one for each row; use it as a context.

        Args:
            title: What goes on.
            rows: Names of the things that go on side by side.
            row_event: What programs are told a row is: card, node.
            in_bytes: Whether amounts are bytes, shown with speed and time to go.
        """
        return Board(self, title, rows, row_event, in_bytes=in_bytes)
