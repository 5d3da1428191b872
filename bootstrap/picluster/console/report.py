"""The output of the commands: a live table on a terminal, plain lines elsewhere, JSON lines for programs."""

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
    """Continues in silence when the reader has closed the pipe; that of rich would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        silence(self.file)  # type: ignore[arg-type] # rich says IO[str]


class Report:
    """The output of one command.

    Results go to standard output, progress and errors to standard error. rich respects NO_COLOR. A stream that is
    closed by its reader (``| head``) raises nothing: the cards are finished, and the exit code reports the result. With
    ``as_json`` standard output gets one JSON object per line and nothing else.
    """

    def __init__(self, *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = Outlet(out or sys.stdout)
        self._err = Outlet(err or sys.stderr)
        self.json = as_json
        self.console: Console = _Console(file=self._err.stream, highlight=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        """Return whether standard error is a terminal that people watch."""
        return self.console.is_terminal and not self.json

    @property
    def problem(self) -> str:
        """Return why results could not be written; empty if they were, or if their reader closed the pipe."""
        return self._out.problem

    def say(self, event: str, line: str, /, **data: object) -> None:
        """Write a line for people, or an event for programs; an empty line writes nothing."""
        said = json.dumps({"event": event, **data}) if self.json else line
        if said:
            self._out.write(said + "\n")

    def note(self, text: str) -> None:
        """Write a note for the user."""
        self.say("note", f"note: {text}", text=text)

    def error(self, text: str, program: str = "") -> None:
        """Write an error: a sentence on standard error, and an event for programs."""
        if self.json:
            self.say("error", "", text=text)
        self.aside(f"{program}: {text}" if program else text)

    def aside(self, line: str) -> None:
        """Write a line to standard error, for people only."""
        self._err.write(line + "\n")

    def ask(self, question: str) -> None:
        """Write a question to standard error; the answer is typed on the same line."""
        self._err.write(question)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write a table for people; programs get its rows through say()."""
        if self.json:
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in columns:
            # A path or URL that is cut off could not be copied.
            table.add_column(column, overflow="fold")
        for row in rows:
            # As text, because rich would parse words in brackets as markup.
            table.add_row(*map(Text, row))
        out = self._out.stream
        # Without a terminal there is no width to respect: each row is one line.
        console = Console(file=out, highlight=False, width=None if out.isatty() else _ENDLESS)
        with console.capture() as drawn:
            console.print(table)
        self._out.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))

    def board(self, title: str, rows: Sequence[str] = (), *, row_event: str = "row", in_bytes: bool = True) -> Board:
        """Return a display of progress: one bar for everything, and one for each row; use it as a context manager.

        ``row_event`` names the event for a row: card, node. Amounts in bytes are shown with speed and remaining time.
        """
        return Board(self, title, rows, row_event, in_bytes=in_bytes)
