"""What keeps a node's clock right: whichever program is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.identity import time_sync
from ansible_collections.picluster.cloud.plugins.module_utils.identity.time_sync import TIMESYNCD
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles

if TYPE_CHECKING:
    from pathlib import Path


class Node:
    """A node with units; a unit that is started or enabled is that from then on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.units = {TIMESYNCD: {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active"}}
        self.servers = ""
        self.container = False
        self.changes: list[list[str]] = []
        self.installed: list[str] = []
        self.dropin = tmp_path / "picluster.conf"
        self.module = MagicMock(check_mode=False, run_command=self.run)
        monkeypatch.setattr(time_sync, "DROPIN", str(self.dropin))
        monkeypatch.setattr(time_sync, "Apt", lambda *_: MagicMock(install=self._install))
        monkeypatch.setattr(time_sync, "in_container", lambda _: self.container)

    def _install(self, names: list[str], *, optional: set[str]) -> None:
        assert not optional
        self.installed += names
        self.units[TIMESYNCD] = {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active"}

    def run(self, command: list[str]) -> tuple[int, str, str]:
        if command[:2] == ["systemctl", "show"]:
            blocks = [
                "".join(f"{key}={value}\n" for key, value in {"Id": name, **self.unit(name)}.items())
                for name in command[3:]
            ]
            return 0, "\n".join(blocks), ""
        if command[0] == "timedatectl":
            return 0, f"{self.servers}\n", ""
        self.changes.append(command)
        verb, unit = command[1:]
        if verb == "enable":
            self.units[unit]["UnitFileState"] = "enabled"
        else:
            self.units[unit]["ActiveState"] = "active"
            lines = self.dropin.read_text().splitlines() if self.dropin.exists() else ["NTP="]
            self.servers = lines[-1].partition("=")[2]
        return 0, "", ""

    def unit(self, name: str) -> dict[str, str]:
        return self.units.get(name, {"LoadState": "not-found", "UnitFileState": "", "ActiveState": "inactive"})

    def converge(self, *servers: str) -> tuple[str, TextFiles]:
        files = TextFiles(self.module)
        return time_sync.TimeSync(self.module, files, 1).converge(servers), files


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Node:
    return Node(monkeypatch, tmp_path)


def test_what_is_on_already_stays_as_it_is(node: Node) -> None:
    keeper, files = node.converge()
    assert keeper == TIMESYNCD
    assert (files.changed, node.changes) == (False, [])


@pytest.mark.parametrize("keeper", ["chrony.service", "ntpsec.service"])
def test_another_program_that_is_there_is_the_one_and_is_switched_on(node: Node, keeper: str) -> None:
    node.units[keeper] = {"LoadState": "loaded", "UnitFileState": "disabled", "ActiveState": "inactive"}
    assert node.converge()[0] == keeper
    assert node.changes == [["systemctl", "enable", keeper], ["systemctl", "restart", keeper]]
    assert not node.converge()[1].changed


def test_where_there_is_none_timesyncd_is_installed(node: Node) -> None:
    node.units.clear()
    keeper, files = node.converge()
    assert (keeper, node.installed) == (TIMESYNCD, ["systemd-timesyncd"])
    assert files.changed
    assert not node.converge()[1].changed


def test_servers_are_a_drop_in_that_is_read_at_once_and_goes_again(node: Node) -> None:
    assert node.converge("10.0.0.1", "ntp.example.org")[1].changed
    assert node.dropin.read_text().endswith("[Time]\nNTP=\nNTP=10.0.0.1 ntp.example.org\n")
    assert node.servers == "10.0.0.1 ntp.example.org"
    assert not node.converge("10.0.0.1", "ntp.example.org")[1].changed
    assert node.converge()[1].changed
    assert not node.dropin.exists()
    assert len(node.changes) == 2


def test_a_run_killed_before_timesyncd_read_its_servers_is_mended(node: Node) -> None:
    node.dropin.write_text(time_sync.dropin_text(["10.0.0.1"]))
    assert node.converge("10.0.0.1")[1].changed
    assert node.changes == [["systemctl", "restart", TIMESYNCD]]
    assert not node.converge("10.0.0.1")[1].changed


def test_in_a_container_nothing_is_started_and_nothing_fails(node: Node) -> None:
    node.container = True
    node.units[TIMESYNCD] |= {"ActiveState": "inactive"}
    assert not node.converge()[1].changed
    assert node.converge("10.0.0.1")[1].changed
    assert not node.converge("10.0.0.1")[1].changed
    assert node.changes == []


def test_check_mode_says_so_and_changes_nothing(node: Node) -> None:
    node.module.check_mode = True
    node.units[TIMESYNCD] |= {"UnitFileState": "disabled", "ActiveState": "inactive"}
    assert len(node.converge("10.0.0.1")[1].diff) == 3
    node.units.clear()
    assert node.converge()[1].changed
    assert (node.changes, node.installed, node.dropin.exists()) == ([], [], False)


def test_a_masked_unit_is_one_sentence(node: Node) -> None:
    node.units[TIMESYNCD] = {"LoadState": "masked", "UnitFileState": "masked", "ActiveState": "inactive"}
    with pytest.raises(ValueError, match=r"masked, so that nothing keeps .*: systemctl unmask systemd-timesyncd"):
        node.converge()


def test_servers_for_another_program_are_refused_by_its_name(node: Node) -> None:
    node.units["chrony.service"] = node.units[TIMESYNCD]
    with pytest.raises(ValueError, match=r"is kept by chrony\.service"):
        node.converge("10.0.0.1")
    assert not node.dropin.exists()


@pytest.mark.parametrize("server", ["ntp.example.org", "10.0.0.1", "fd00::1", "router", "0.debian.pool.ntp.org"])
def test_names_and_addresses_are_servers(server: str) -> None:
    time_sync.check_servers([server])


@pytest.mark.parametrize("server", ["", "10.0.0", "a b", "http://x", "-x", "x\ny", 7])
def test_what_is_no_server_is_named(server: Any) -> None:
    with pytest.raises(ValueError, match="wanted are host names or addresses"):
        time_sync.check_servers(["10.0.0.1", server])
