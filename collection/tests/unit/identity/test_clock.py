"""The node's clock: when it is set, when it must not be, and what is said. No test ever sets a real one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.identity import clock as identity_clock
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0
TWO_YEARS = 2 * 365.25 * 86400


class Machine(FakeNode):
    """A node with a clock of its own, `off` seconds off, on which time passes only where the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, off: float) -> None:
        missing = Outcome(127)
        super().__init__(root, {"fake-hwclock": missing, "hwclock": missing, "systemd-detect-virt": Outcome(1)})
        self.now = NOW + off
        self.passed = 0.0
        self.forbidden = False
        self.set: list[float] = []
        self.synchronized("no")
        monkeypatch.setattr(identity_clock.time, "time", lambda: self.now)
        monkeypatch.setattr(identity_clock.time, "monotonic", lambda: self.passed)
        monkeypatch.setattr(identity_clock.time, "clock_settime", self._settime)

    def synchronized(self, answer: str) -> None:
        self.answers["timedatectl show --property=NTPSynchronized"] = f"{answer}\n"

    def _settime(self, _clock_id: int, when: float) -> None:
        if self.forbidden:
            raise PermissionError
        self.set.append(when)
        self.now = when

    def clock(self) -> identity_clock.Clock:
        return identity_clock.Clock(self)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    return lambda off: Machine(monkeypatch, tmp_path, off)


@pytest.mark.parametrize("off", [0, 59, -59])
def test_a_clock_that_is_right_is_left_alone_and_nobody_is_asked(node: Any, off: float) -> None:
    right = node(off)
    right.answers.clear()
    clock = right.clock()
    clock.correct(NOW, 0.0)
    assert (right.set, right.diff, clock.offset, clock.was_set) == ([], [], 0, False)


@pytest.mark.parametrize("off", [-TWO_YEARS, 61, -61, TWO_YEARS])
def test_a_clock_that_is_far_off_is_set_and_the_run_says_by_how_much(node: Any, off: float) -> None:
    wrong = node(off)
    clock = wrong.clock()
    clock.correct(NOW, 0.0)
    assert wrong.set == [NOW]
    assert clock.offset == round(off)
    assert clock.was_set
    assert identity_clock.describe_offset(off) in wrong.module.warnings[0]
    assert wrong.diff[0]["after"] == "2027-01-15 08:00 UTC\n"


def test_the_time_that_went_by_since_the_clock_was_read_is_added(node: Any) -> None:
    wrong = node(-TWO_YEARS)
    wrong.passed = 100.0
    reading = wrong.clock().doubt(NOW)
    assert reading == {"clock": NOW - TWO_YEARS, "uptime": 100.0}
    wrong.passed = 105.0
    wrong.clock().correct(NOW, reading["uptime"])
    assert wrong.set == [NOW + 5]


def test_a_clock_that_is_not_far_off_is_not_doubted(node: Any) -> None:
    assert node(59).clock().doubt(NOW) == {}


def test_a_node_that_started_anew_since_its_clock_was_read_is_not_set(node: Any) -> None:
    wrong = node(-TWO_YEARS)
    wrong.passed = 10.0
    with pytest.raises(UserError, match="the node restarted in the meantime; run the playbook again"):
        wrong.clock().correct(NOW, 3600.0)
    assert wrong.set == []


@pytest.mark.parametrize(
    ("clock", "certainly"),
    [
        (NOW, False),
        # The question was on its way for ten minutes, the answer for five: the clock is right.
        (NOW + 600, False),
        (NOW + 900, False),
        (NOW - 60, False),
        (NOW + 960, False),
        (NOW - 61, True),
        (NOW + 961, True),
    ],
)
def test_a_long_way_makes_no_clock_wrong(clock: float, certainly: bool) -> None:  # noqa: FBT001 - a case of the table
    assert identity_clock.certainly_off(clock, NOW, NOW + 900) is certainly


def test_what_a_restart_takes_the_time_from_gets_the_right_one_too(node: Any) -> None:
    wrong = node(TWO_YEARS)
    wrong.clock().correct(NOW, 0.0)
    assert wrong.commands[-2:] == ["fake-hwclock save force", "hwclock --systohc"]


def test_check_mode_says_so_and_sets_nothing(node: Any) -> None:
    wrong = node(-TWO_YEARS)
    wrong.check_mode = True
    clock = wrong.clock()
    clock.correct(NOW, 0.0)
    assert wrong.set == []
    assert clock.was_set
    assert len(wrong.diff) == 1


def test_a_container_is_never_set_and_fails_only_because_it_is_off(node: Any) -> None:
    wrong = node(-TWO_YEARS)
    wrong.answers["systemd-detect-virt"] = ""
    with pytest.raises(UserError, match="2 years behind the controller's, and a container uses the clock of its host"):
        wrong.clock().correct(NOW, 0.0)
    assert wrong.set == []


def test_who_may_not_set_the_clock_is_told_in_one_sentence(node: Any) -> None:
    wrong = node(TWO_YEARS)
    wrong.forbidden = True
    with pytest.raises(UserError, match=r"2 years ahead of the controller's .*\(no CAP_SYS_TIME"):
        wrong.clock().correct(NOW, 0.0)


def test_time_servers_are_believed_more_than_the_controller(node: Any) -> None:
    kept = node(TWO_YEARS)
    kept.synchronized("yes")
    clock = kept.clock()
    clock.correct(NOW, 0.0)
    assert (kept.set, clock.was_set) == ([], False)
    assert "check the controller's clock" in kept.module.warnings[0]


def test_a_saved_date_from_the_future_does_not_bring_the_wrong_time_back(node: Any) -> None:
    wrong = node(TWO_YEARS)
    saved = wrong.write(identity_clock.SAVED, "")
    os.utime(saved, (NOW + TWO_YEARS, NOW + TWO_YEARS))
    wrong.clock().correct(NOW, 0.0)
    assert saved.stat().st_mtime < NOW + TWO_YEARS - 1


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
    assert identity_clock.describe_offset(off) == words
