"""What is shown while something goes on: bars on a terminal, few lines elsewhere, events for programs."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from picluster import report
from picluster.report import Report

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _burn(said: Report, steps: int = 4) -> None:
    with said.board("card.img", ["red1", "red2"], row_event="card") as board:
        for step in range(steps + 1):
            board.row("red1", "writing", step, steps)
            board.row("red2", "writing", step, steps)
            board.overall(2 * step, 2 * steps)
        board.row("red1", "done")
        board.row("red2", "failed", detail="pulled out")


def test_a_terminal_shows_a_bar_for_each_card_and_one_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    err = Terminal()
    _burn(Report(as_json=False, out=io.StringIO(), err=err))
    last = err.getvalue()
    for word in ("card.img", "red1", "done", "red2", "failed"):
        assert word in last


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 1000, 2))
    monkeypatch.setattr(report.time, "monotonic", lambda: float(next(seconds)))
    err = io.StringIO()
    _burn(Report(as_json=False, out=io.StringIO(), err=err), steps=10)
    lines = err.getvalue().splitlines()
    assert lines[-2:] == ["red1: done", "red2: failed"]
    assert lines[0] == "card.img: 20 %"
    assert len(lines) < 8


def test_programs_are_told_each_state_once_with_the_reason() -> None:
    out, err = io.StringIO(), io.StringIO()
    _burn(Report(as_json=True, out=out, err=err))
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(event["name"], event["state"]) for event in events if event["event"] == "card"] == [
        ("red1", "writing"),
        ("red2", "writing"),
        ("red1", "done"),
        ("red2", "failed"),
    ]
    assert events[-1]["detail"] == "pulled out"
    assert err.getvalue() == ""


def test_more_rows_than_the_screen_has_are_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "20")
    err = Terminal()
    said = Report(as_json=False, out=io.StringIO(), err=err)
    names = [f"red{number}" for number in range(200)]
    with said.board("card.img", names, row_event="card") as board:
        for name in names:
            board.row(name, "done")
        board.overall(1, 1)
    # Their ends are told in lines above the bar.
    assert "red199: done" in err.getvalue()
