"""Progress: bars on a terminal, few lines elsewhere, events for programs."""

from __future__ import annotations

import io
import json

import pytest

from picluster.commands.burnjob import BurnDisplay
from picluster.console import bars
from picluster.console.report import Report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _burn(said: Report, steps: int = 4) -> None:
    with said.board("card.img", ["red1", "red2"], row_event="card") as bars:
        for step in range(steps + 1):
            bars.row("red1", "writing", step, steps)
            bars.row("red2", "writing", step, steps)
            bars.overall(2 * step, 2 * steps)
        bars.row("red1", "done")
        bars.row("red2", "failed", detail="pulled out")


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
    monkeypatch.setattr(bars.time, "monotonic", lambda: float(next(seconds)))
    err = io.StringIO()
    _burn(Report(as_json=False, out=io.StringIO(), err=err), steps=10)
    lines = err.getvalue().splitlines()
    assert lines[-2:] == ["red1: done", "red2: failed"]
    assert len(lines) < 8


def test_a_line_tells_how_fast_it_goes_and_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter((0, 5, 10, 15))
    monkeypatch.setattr(bars.time, "monotonic", lambda: float(next(seconds)))
    err = io.StringIO()
    with Report(as_json=False, out=io.StringIO(), err=err).board("card.img") as shown:
        shown.overall(500_000_000, 6_000_000_000)
        shown.overall(2_000_000_000, 6_000_000_000, "download")
        shown.overall(2_000_000_000, 6_000_000_000, "download")
    assert err.getvalue().splitlines() == [
        "card.img: 8 %, 100.0 MB/s, 0:55 left",
        "card.img: 33 % download, 300.0 MB/s, 0:13 left",
        "card.img: 33 % download",
    ]


def test_programs_are_told_how_far_each_card_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter((0, 5))
    monkeypatch.setattr(bars.time, "monotonic", lambda: float(next(seconds)))
    out = io.StringIO()
    with Report(as_json=True, out=out, err=io.StringIO()).board(
        "card.img", ["red1", "red2"], row_event="card"
    ) as shown:
        shown.row("red1", "writing", 300, 1000)
        shown.row("red1", "writing", 500, 1000)
        shown.overall(500, 2000)
    assert json.loads(out.getvalue().splitlines()[-1]) == {
        "event": "progress",
        "title": "card.img",
        "percent": 25,
        "state": "",
        "speed": 100,
        "eta": 15,
        "cards": {"red1": {"state": "writing", "percent": 50}, "red2": {"state": "waiting", "percent": 0}},
    }


class Shown:
    """A board that records its calls."""

    def __init__(self) -> None:
        self.all: list[tuple[float, float]] = []

    def row(self, *_: object) -> None:
        pass

    def overall(self, done: float, total: float) -> None:
        self.all.append((done, total))


@pytest.mark.parametrize("passes", [1, 2])
def test_a_burn_is_counted_to_its_end_and_no_further(passes: int) -> None:
    shown = Shown()
    watcher = BurnDisplay(shown, ["red1", "red2"], passes)  # type: ignore[arg-type]  # a stand-in
    for name in ("red1", "red2"):
        watcher.card(name, "writing", 0, 100)
        watcher.card(name, "writing", 120, 100)
        watcher.card(name, "syncing", 100, 100)
        if passes == 2:
            watcher.card(name, "verifying", 50, 100)
        watcher.card(name, "syncing", 100, 100)
    watcher.card("red1", "done")
    watcher.card("red2", "failed", detail="pulled out")
    done = [amount for amount, _ in shown.all]
    assert done == sorted(done)
    assert {total for _, total in shown.all} == {200 * passes}
    assert done[-1] == 200 * passes


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
    with said.board("card.img", names, row_event="card") as bars:
        for name in names:
            bars.row(name, "done")
        bars.overall(1, 1)
    # Lines above the bar report their ends.
    assert "red199: done" in err.getvalue()
