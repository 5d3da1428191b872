"""Progress for people: rich where there is a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Iterator


class Reporter:
    """Says what happens, to standard error, with the seconds since the start."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._start = time.monotonic()

    def line(self, text: str) -> None:
        """Say one thing."""
        self._console.print(f"[dim]{time.monotonic() - self._start:5.0f} s[/dim]  {escape(text)}")

    @contextmanager
    def step(self, doing: str, done: str = "") -> Iterator[None]:
        """Say what begins; where there is a terminal, turn a spinner; say how long it took."""
        began = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(escape(doing)):
                yield
        else:
            self.line(f"{doing} ...")
            yield
        self.line(f"{done or doing}: {time.monotonic() - began:.0f} s")

    def block(self, text: str) -> None:
        """Print text of somebody else as it is."""
        self._console.print(text, markup=False)
