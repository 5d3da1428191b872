"""The node's clock: when it is set, when it must not be, and what is said. No test ever sets a real one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils import _clock

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0
TWO_YEARS = 2 * 365.25 * 86400


class Node:
    """A node with a clock of its own, `off` seconds off, on which time passes only where it is said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, off: float) -> None:
        self.now = NOW + off
        self.passed = 0.0
        self.container = self.synchronized = self.forbidden = self.check_mode = False
        self.set: list[float] = []
        self.warnings: list[str] = []
        self.diff: list[dict[str, str]] = []
        self.saved = tmp_path / "clock"
        monkeypatch.setattr(_clock.time, "time", lambda: self.now)
        monkeypatch.setattr(_clock.time, "monotonic", lambda: self.passed)
        monkeypatch.setattr(_clock.time, "clock_settime", self._settime)
        monkeypatch.setattr(_clock, "SAVED", str(self.saved))

    def _settime(self, _clock_id: int, when: float) -> None:
        if self.forbidden:
            raise PermissionError
        self.set.append(when)
        self.now = when

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        if command[0] == "systemd-detect-virt":
            return (0 if self.container else 1), "", ""
        assert command[0] == "timedatectl"
        return 0, "yes\n" if self.synchronized else "no\n", ""

    def clock(self) -> _clock.Clock:
        return _clock.Clock(
            MagicMock(run_command=self.run_command, warn=self.warnings.append, check_mode=self.check_mode), self
        )  # type: ignore[arg-type]


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    return lambda off: Node(monkeypatch, tmp_path, off)


@pytest.mark.parametrize("off", [0, 59, -59])
def test_a_clock_that_is_right_is_left_alone_and_nobody_is_asked(node: Any, off: float) -> None:
    right = node(off)
    right.run_command = None
    clock = right.clock()
    clock.set_right(NOW)
    assert (right.set, right.diff, clock.off, clock.was_set) == ([], [], 0, False)


@pytest.mark.parametrize("off", [-TWO_YEARS, 61, -61, TWO_YEARS])
def test_a_clock_that_is_far_off_is_set_and_the_run_says_by_how_much(node: Any, off: float) -> None:
    wrong = node(off)
    clock = wrong.clock()
    clock.set_right(NOW)
    assert wrong.set == [NOW]
    assert clock.off == round(off)
    assert clock.was_set
    assert _clock.spoken(off) in wrong.warnings[0]
    assert wrong.diff[0]["after"] == "2027-01-15 08:00 UTC\n"


def test_the_time_that_went_by_since_the_controller_was_asked_is_added(node: Any) -> None:
    wrong = node(-TWO_YEARS)
    clock = wrong.clock()
    wrong.passed = 5.0
    clock.set_right(NOW)
    assert wrong.set == [NOW + 5]


def test_check_mode_says_so_and_sets_nothing(node: Any) -> None:
    wrong = node(-TWO_YEARS)
    wrong.check_mode = True
    clock = wrong.clock()
    clock.set_right(NOW)
    assert wrong.set == []
    assert clock.was_set
    assert len(wrong.diff) == 1


def test_a_container_is_never_set_and_fails_only_because_it_is_off(node: Any) -> None:
    wrong = node(-TWO_YEARS)
    wrong.container = True
    with pytest.raises(ValueError, match=r"2 years behind the controller's, and as a container"):
        wrong.clock().set_right(NOW)
    assert wrong.set == []


def test_who_may_not_set_the_clock_is_told_in_one_sentence(node: Any) -> None:
    wrong = node(TWO_YEARS)
    wrong.forbidden = True
    with pytest.raises(ValueError, match=r"2 years ahead of the controller's .*\(no CAP_SYS_TIME"):
        wrong.clock().set_right(NOW)


def test_time_servers_are_believed_more_than_the_controller(node: Any) -> None:
    kept = node(TWO_YEARS)
    kept.synchronized = True
    clock = kept.clock()
    clock.set_right(NOW)
    assert (kept.set, clock.was_set) == ([], False)
    assert "look at the controller's clock" in kept.warnings[0]


def test_a_saved_date_from_the_future_does_not_bring_the_wrong_time_back(node: Any) -> None:
    wrong = node(TWO_YEARS)
    wrong.saved.touch()
    os.utime(wrong.saved, (NOW + TWO_YEARS, NOW + TWO_YEARS))
    wrong.clock().set_right(NOW)
    assert wrong.saved.stat().st_mtime < NOW + TWO_YEARS - 1


@pytest.mark.parametrize(
    ("off", "words"),
    [
        (-TWO_YEARS, "2 years behind the controller's"),
        (80, "80 seconds ahead of the controller's"),
        (-150, "2 minutes behind the controller's"),
        (3 * 3600, "3 hours ahead of the controller's"),
        (-730 * 86400 + 5, "2 years behind the controller's"),
        (-400 * 86400, "400 days behind the controller's"),
    ],
)
def test_how_far_it_is_off_is_said_in_words(off: float, words: str) -> None:
    assert _clock.spoken(off) == words
