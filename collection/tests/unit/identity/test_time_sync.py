"""What keeps a node's clock right: whichever program is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakenode import MASKED, RUNNING, STOPPED, FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.identity.clock import (
    DROPIN,
    TIMESYNCD,
    TimeSync,
    dropin_text,
)
from ansible_collections.picluster.cloud.plugins.module_utils.identity.rules import check_servers
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages

if TYPE_CHECKING:
    from pathlib import Path


class Machine(FakeNode):
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
        return TimeSync(self, Packages(self, 1)).converge(servers), self.changed

    @property
    def changes(self) -> list[str]:
        return [command for command in self.actions if command.startswith("systemctl")]


@pytest.fixture
def node(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_on_already_stays_as_it_is(node: Machine) -> None:
    assert node.converge() == (TIMESYNCD, False)
    assert node.changes == []


@pytest.mark.parametrize("keeper", ["chrony.service", "ntpsec.service"])
def test_another_program_that_is_there_is_the_one_and_is_switched_on(node: Machine, keeper: str) -> None:
    node.unit_states[keeper] = dict(STOPPED)
    assert node.converge()[0] == keeper
    assert node.changes == [f"systemctl enable {keeper}", f"systemctl start {keeper}"]
    assert node.converge() == (keeper, False)


def test_where_there_is_none_timesyncd_is_installed(node: Machine) -> None:
    node.unit_states.clear()
    assert node.converge() == (TIMESYNCD, True)
    assert node.converge() == (TIMESYNCD, False)


def test_servers_are_a_drop_in_that_is_read_at_once_and_goes_again(node: Machine) -> None:
    assert node.converge("10.0.0.1", "ntp.example.org")[1]
    assert node.dropin.read_text().endswith("[Time]\nNTP=\nNTP=10.0.0.1 ntp.example.org\n")
    assert node.servers == "10.0.0.1 ntp.example.org"
    assert not node.converge("10.0.0.1", "ntp.example.org")[1]
    assert node.converge()[1]
    assert not node.dropin.exists()
    assert len(node.changes) == 2


def test_a_run_killed_before_timesyncd_read_its_servers_is_repaired(node: Machine) -> None:
    node.write(DROPIN, dropin_text(["10.0.0.1"]))
    assert node.converge("10.0.0.1")[1]
    assert node.changes == [f"systemctl restart {TIMESYNCD}"]
    assert not node.converge("10.0.0.1")[1]


def test_in_a_container_nothing_is_started_and_nothing_fails(node: Machine) -> None:
    node.answers["systemd-detect-virt"] = ""
    node.unit_states[TIMESYNCD]["ActiveState"] = "inactive"
    assert not node.converge()[1]
    assert node.converge("10.0.0.1")[1]
    assert not node.converge("10.0.0.1")[1]
    assert node.changes == []


def test_a_unit_that_has_no_state_of_its_own_is_not_enabled_again_and_again(node: Machine) -> None:
    node.unit_states["ntp.service"] = {**RUNNING, "UnitFileState": "generated"}
    assert node.converge() == ("ntp.service", False)


def test_check_mode_says_so_and_changes_nothing(tmp_path: Path) -> None:
    node = Machine(tmp_path, check_mode=True)
    node.unit_states[TIMESYNCD] = dict(STOPPED)
    assert node.converge("10.0.0.1") == (TIMESYNCD, True)
    assert len(node.diff) == 3
    node.unit_states.clear()
    assert node.converge() == (TIMESYNCD, True)
    assert not any(command.startswith("apt-get") for command in node.commands)
    assert (node.changes, node.dropin.exists()) == ([], False)


def test_a_masked_unit_is_one_sentence(node: Machine) -> None:
    node.unit_states[TIMESYNCD] = dict(MASKED)
    with pytest.raises(UserError, match="is masked; run: systemctl unmask systemd-timesyncd"):
        node.converge()


def test_servers_for_another_program_are_refused_by_its_name(node: Machine) -> None:
    node.unit_states["chrony.service"] = dict(RUNNING)
    with pytest.raises(UserError, match=r"ntp_servers has no effect: chrony\.service keeps"):
        node.converge("10.0.0.1")
    assert not node.dropin.exists()


@pytest.mark.parametrize("server", ["ntp.example.org", "10.0.0.1", "fd00::1", "router", "0.debian.pool.ntp.org"])
def test_names_and_addresses_are_servers(server: str) -> None:
    check_servers([server])


@pytest.mark.parametrize("server", ["", "10.0.0", "a b", "http://x", "-x", "x\ny", 7])
def test_what_is_no_server_is_named(server: Any) -> None:
    with pytest.raises(UserError, match="expected host names or addresses"):
        check_servers(["10.0.0.1", server])
