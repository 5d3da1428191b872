"""The machine-id: mended where it is none, or another node's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.identity import machine_id
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "0f3b7a52c1d84f0e9a1b2c3d4e5f6071"
TMPFS = f"99 25 0:24 /machine-id {machine_id.MACHINE_ID} rw,nosuid shared:1 - tmpfs tmpfs rw\n"


class Node:
    """A node's two files and its mounts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.file, self.dbus, self.mounts = root / "machine-id", root / "dbus", root / "mountinfo"
        self.calls: list[list[str]] = []
        self.module = MagicMock(check_mode=False, run_command=self.run)
        monkeypatch.setattr(machine_id, "MACHINE_ID", str(self.file))
        monkeypatch.setattr(machine_id, "DBUS_ID", str(self.dbus))
        monkeypatch.setattr(machine_id, "MOUNTS", str(self.mounts))

    def run(self, command: list[str]) -> tuple[int, str, str]:
        self.calls.append(command)
        return 0, "", ""

    def settle(self, taken: str = "") -> tuple[str, bool]:
        files = TextFiles(self.module)
        return machine_id.MachineId(self.module, files).settle(taken), files.changed


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Node:
    return Node(monkeypatch, tmp_path)


def test_an_id_of_its_own_stays(node: Node) -> None:
    node.file.write_text(f"{GOOD}\n")
    assert node.settle("f" * 32) == (GOOD, False)
    assert node.calls == []


@pytest.mark.parametrize("text", [None, "", "\n", "uninitialized\n", "0" * 32, "ABC", GOOD[:31]])
def test_what_is_no_id_is_replaced_once(node: Node, text: str | None) -> None:
    if text is not None:
        node.file.write_text(text)
    found, changed = node.settle()
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert changed
    assert node.file.read_text() == f"{found}\n"
    assert node.file.stat().st_mode & 0o777 == 0o444
    assert node.settle() == (found, False)


def test_another_node_s_id_is_replaced_and_journald_goes_on_under_the_new_one(node: Node) -> None:
    node.file.write_text(f"{GOOD}\n")
    found, changed = node.settle(GOOD)
    assert changed
    assert found != GOOD
    assert node.calls == [["systemctl", "try-restart", "systemd-journald.service"]]
    assert node.settle(GOOD) == (found, False)


def test_d_bus_has_no_copy_of_the_old_one(node: Node) -> None:
    node.file.write_text(GOOD)
    node.dbus.write_text(GOOD)
    found, _changed = node.settle(GOOD)
    assert node.dbus.read_text() == f"{found}\n"


def test_a_run_that_was_killed_before_d_bus_was_told_is_mended(node: Node) -> None:
    node.file.write_text(GOOD)
    node.dbus.write_text("f" * 32)
    assert node.settle("f" * 32) == (GOOD, True)
    assert node.dbus.read_text() == f"{GOOD}\n"
    assert node.settle("f" * 32) == (GOOD, False)


def test_d_bus_s_link_stays_one(node: Node) -> None:
    node.file.write_text(GOOD)
    node.dbus.symlink_to(node.file)
    node.settle(GOOD)
    assert node.dbus.is_symlink()


def test_an_id_that_would_be_gone_after_the_next_start_is_written_down(node: Node) -> None:
    node.file.write_text(GOOD)
    node.mounts.write_text(TMPFS.replace(" /etc/machine-id ", f" {node.file} "))
    assert node.settle() == (GOOD, True)
    assert node.calls == [["systemd-machine-id-setup", "--commit"]]


def test_check_mode_says_so_and_changes_nothing(node: Node) -> None:
    node.module.check_mode = True
    node.file.write_text(GOOD)
    node.mounts.write_text(TMPFS.replace(" /etc/machine-id ", f" {node.file} "))
    assert node.settle(GOOD) == (GOOD, True)
    assert node.settle() == (GOOD, True)
    assert (node.file.read_text(), node.calls) == (GOOD, [])


def test_only_a_mount_in_memory_is_transient() -> None:
    assert machine_id.is_transient(TMPFS)
    assert not machine_id.is_transient(TMPFS.replace("- tmpfs", "- ext4"))
    assert not machine_id.is_transient("25 1 8:2 / / rw - ext4 /dev/sda2 rw\n")
