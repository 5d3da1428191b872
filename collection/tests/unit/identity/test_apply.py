"""A whole node: what comes first, what a second run changes, and what is checked before anything changes."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import RUNNING, FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.identity import apply, names
from ansible_collections.picluster.cloud.plugins.module_utils.identity.apply import converge
from ansible_collections.picluster.cloud.plugins.module_utils.identity.clock import TIMESYNCD, Clock
from ansible_collections.picluster.cloud.plugins.module_utils.node import files
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {
    "hostname": "red1",
    "hosts": {"red1": "192.168.63.11", "red2": "192.168.63.12"},
    "arch": "arm64",
    "interface": "eth0",
    "timezone": "Etc/UTC",
    "locale": "C.UTF-8",
    "ntp_servers": [],
    "lock_timeout": 1,
    "controller_time": None,
    "controller_uptime": None,
    "taken_machine_id": "",
}


class Machine(FakeNode):
    """A node on its first boot."""

    def __init__(self, root: Path, *, check_mode: bool = False) -> None:
        super().__init__(root, check_mode=check_mode, units={TIMESYNCD: RUNNING})
        self.write("/etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n")
        self.write(names.HOSTNAME, "raspberrypi\n")
        self.write(names.LIVE_HOSTNAME, "raspberrypi\n")
        self.write(names.CLOUD_TEMPLATE, "## template:jinja\n")
        self.write("/sys/class/net/eth0/address", "dc:a6:32:01:02:03\n")
        self.write("/usr/share/zoneinfo/Etc/UTC", "")
        self.write("/usr/share/zoneinfo/UTC", "")
        self.path("/etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
        self.answers = {
            "dpkg --print-architecture": "arm64\n",
            "hostnamectl set-hostname": self._rename,
            "hostname": self._rename,
            "systemd-detect-virt": Outcome(1),
        }

    def _rename(self, *command: str) -> str:
        self.write(names.LIVE_HOSTNAME, f"{command[-1]}\n")
        return ""

    def converge(self, **options: Any) -> dict[str, Any]:
        self.diff.clear()
        return converge(self, {**OPTIONS, **options})


@pytest.fixture(autouse=True)
def _board(monkeypatch: pytest.MonkeyPatch) -> None:
    uname = type("Uname", (), {"machine": "aarch64"})
    monkeypatch.setattr(apply.os, "uname", lambda: uname)


def test_a_fresh_node_becomes_itself_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    node = Machine(tmp_path)
    answer = node.converge()
    assert node.changed
    assert node.text(names.LIVE_HOSTNAME) == node.text(names.HOSTNAME) == "red1\n"
    assert "192.168.63.12\tred2\n" in node.text(names.HOSTS)
    assert node.text(names.CLOUD_TEMPLATE) == names.cloud_template(node.text(names.HOSTS))
    assert "preserve_hostname: true" in node.text(names.CLOUD_DROPIN)
    assert len(answer.pop("machine_id")) == 32
    assert answer == {
        "hostname": "red1",
        "arch": "arm64",
        "clock_off": 0,
        "clock_set": False,
        "time_keeper": TIMESYNCD,
        "mac": "dc:a6:32:01:02:03",
    }
    node.converge()
    assert node.diff == []


def test_a_node_without_hostnamed_is_renamed_all_the_same(tmp_path: Path) -> None:
    node = Machine(tmp_path)
    node.answers["hostnamectl"] = node.answers["hostnamectl set-hostname"] = Outcome(1, "", "no bus")
    node.converge()
    assert node.text(names.LIVE_HOSTNAME) == "red1\n"
    assert "hostname red1" in node.commands


def test_check_mode_shows_every_change_and_changes_nothing(tmp_path: Path) -> None:
    node = Machine(tmp_path, check_mode=True)
    node.converge()
    headers = [entry["before_header"].partition(" (")[0] for entry in node.diff]
    assert headers[:2] == [names.HOSTNAME, "live hostname"]
    assert names.HOSTS in headers
    assert node.text(names.HOSTNAME) == node.text(names.LIVE_HOSTNAME) == "raspberrypi\n"
    assert "red1" not in node.text(names.HOSTS)
    assert not any(command.startswith("host") for command in node.commands)


def test_the_mac_of_an_interface_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert Machine(tmp_path).converge(interface="eth1")["mac"] == ""


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"hostname": "Red_1"}, "hostname is invalid"),
        ({"lock_timeout": -1}, "lock_timeout is out of range"),
        ({"arch": "armhf"}, "arch does not match the node"),
    ],
)
def test_a_wrong_option_changes_nothing(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    node = Machine(tmp_path)
    with pytest.raises(UserError, match=words):
        node.converge(**wrong)
    assert node.diff == []


@pytest.mark.parametrize("path", [names.HOSTNAME, names.CLOUD_DROPIN, "/etc/machine-id", "/etc/default/locale"])
def test_a_read_only_card_is_one_sentence_whichever_file_it_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    write = files.write_atomically

    def refuse(place: Path, *rest: Any) -> None:
        if place == tmp_path / path.lstrip("/"):
            raise OSError(errno.EROFS, "Read-only file system")
        write(place, *rest)

    monkeypatch.setattr(files, "write_atomically", refuse)
    with pytest.raises(UserError, match=f"^{path} cannot be written: Read-only file system; check the card"):
        Machine(tmp_path).converge()


def test_the_clock_comes_before_all_that_a_wrong_one_would_spoil(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Machine(tmp_path)
    seen: list[bool] = []
    monkeypatch.setattr(Clock, "correct", lambda *_: seen.append(node.changed))
    node.converge(controller_time=1.0, controller_uptime=1.0)
    assert seen == [False]
    assert node.changed


def test_a_doubtful_clock_is_reported_and_nothing_is_changed(tmp_path: Path) -> None:
    node = Machine(tmp_path)
    answer = node.converge(controller_time=time.time() - 3600)
    assert list(answer) == ["clock_reading"]
    assert node.diff == []


def test_by_the_time_alone_at_which_the_controller_asked_no_clock_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(Clock, "correct", forbidden)
    assert Machine(tmp_path).converge(controller_time=time.time())["clock_set"] is False
