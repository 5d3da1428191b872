"""The node's clock: when it is set, when it must not be, what is said, and what keeps it right.

No test ever sets a real one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import MASKED, RUNNING, STOPPED, FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.identity import clock as identity_clock
from ansible_collections.picluster.cloud.plugins.module_utils.identity.clock import DROPIN, TIMESYNCD
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages

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


class Kept(FakeNode):
    """A node whose timesyncd reads its servers when it starts."""

    def __init__(self, root: Path, *, check_mode: bool = False) -> None:
        super().__init__(root, check_mode=check_mode, units={TIMESYNCD: RUNNING})
        self.servers = ""
        self.dropin = self.path(DROPIN)
        self.answers = {
            "systemd-detect-virt": Outcome(1),
            "timedatectl show-timesync": lambda *_: f"{self.servers}\n",
            "systemctl restart": self._read,
            "systemctl start": self._read,
            "apt-cache policy": "systemd-timesyncd:\n  Candidate: 1\n",
            "apt-get": self._install,
        }

    def _read(self, *_: str) -> None:
        lines = self.dropin.read_text().splitlines() if self.dropin.exists() else ["NTP="]
        self.servers = lines[-1].partition("=")[2]

    def _install(self, *command: str) -> str:
        assert command[-1] == "systemd-timesyncd"
        self.unit_states[TIMESYNCD] = dict(RUNNING)
        return ""

    def converge(self, *servers: str) -> tuple[str, bool]:
        self.diff.clear()
        return identity_clock.TimeSync(self, Packages(self, 1)).converge(servers), self.changed

    @property
    def changes(self) -> list[str]:
        return [command for command in self.actions if command.startswith("systemctl")]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_what_is_on_already_stays_as_it_is(kept: Kept) -> None:
    assert kept.converge() == (TIMESYNCD, False)
    assert kept.changes == []


@pytest.mark.parametrize("keeper", ["chrony.service", "ntpsec.service"])
def test_another_program_that_is_there_is_the_one_and_is_switched_on(kept: Kept, keeper: str) -> None:
    kept.unit_states[keeper] = dict(STOPPED)
    assert kept.converge()[0] == keeper
    assert kept.changes == [f"systemctl enable {keeper}", f"systemctl start {keeper}"]
    assert kept.converge() == (keeper, False)


def test_where_there_is_none_timesyncd_is_installed(kept: Kept) -> None:
    kept.unit_states.clear()
    assert kept.converge() == (TIMESYNCD, True)
    assert kept.converge() == (TIMESYNCD, False)


def test_servers_are_a_drop_in_that_is_read_at_once_and_goes_again(kept: Kept) -> None:
    assert kept.converge("10.0.0.1", "ntp.example.org")[1]
    assert kept.dropin.read_text().endswith("[Time]\nNTP=\nNTP=10.0.0.1 ntp.example.org\n")
    assert kept.servers == "10.0.0.1 ntp.example.org"
    assert not kept.converge("10.0.0.1", "ntp.example.org")[1]
    assert kept.converge()[1]
    assert not kept.dropin.exists()
    assert len(kept.changes) == 2


def test_a_run_killed_before_timesyncd_read_its_servers_is_repaired(kept: Kept) -> None:
    kept.write(DROPIN, identity_clock.dropin_text(["10.0.0.1"]))
    assert kept.converge("10.0.0.1")[1]
    assert kept.changes == [f"systemctl restart {TIMESYNCD}"]
    assert not kept.converge("10.0.0.1")[1]


def test_in_a_container_nothing_is_started_and_nothing_fails(kept: Kept) -> None:
    kept.answers["systemd-detect-virt"] = ""
    kept.unit_states[TIMESYNCD]["ActiveState"] = "inactive"
    assert not kept.converge()[1]
    assert kept.converge("10.0.0.1")[1]
    assert not kept.converge("10.0.0.1")[1]
    assert kept.changes == []


def test_a_unit_that_has_no_state_of_its_own_is_not_enabled_again_and_again(kept: Kept) -> None:
    kept.unit_states["ntp.service"] = {**RUNNING, "UnitFileState": "generated"}
    assert kept.converge() == ("ntp.service", False)


def test_check_mode_says_so_and_changes_nothing(tmp_path: Path) -> None:
    kept = Kept(tmp_path, check_mode=True)
    kept.unit_states[TIMESYNCD] = dict(STOPPED)
    assert kept.converge("10.0.0.1") == (TIMESYNCD, True)
    assert len(kept.diff) == 3
    kept.unit_states.clear()
    assert kept.converge() == (TIMESYNCD, True)
    assert not any(command.startswith("apt-get") for command in kept.commands)
    assert (kept.changes, kept.dropin.exists()) == ([], False)


def test_a_masked_unit_is_one_sentence(kept: Kept) -> None:
    kept.unit_states[TIMESYNCD] = dict(MASKED)
    with pytest.raises(UserError, match="is masked; run: systemctl unmask systemd-timesyncd"):
        kept.converge()


def test_servers_for_another_program_are_refused_by_its_name(kept: Kept) -> None:
    kept.unit_states["chrony.service"] = dict(RUNNING)
    with pytest.raises(UserError, match=r"ntp_servers has no effect: chrony\.service keeps"):
        kept.converge("10.0.0.1")
    assert not kept.dropin.exists()
