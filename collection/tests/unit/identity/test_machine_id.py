"""The machine-id: mended where it is none, or another node's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.identity import machine_id

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "0f3b7a52c1d84f0e9a1b2c3d4e5f6071"
TMPFS = f"99 25 0:24 /machine-id {machine_id.MACHINE_ID} rw,nosuid shared:1 - tmpfs tmpfs rw\n"


class Machine(FakeNode):
    """A node with a machine-id, which it may have in memory only."""

    def __init__(self, root: Path, *, check_mode: bool = False) -> None:
        super().__init__(root, {"systemd-machine-id-setup": "", "umount": ""}, check_mode=check_mode)
        self.file, self.dbus = self.path(machine_id.MACHINE_ID), self.path(machine_id.DBUS_ID)
        for path in (self.file, self.dbus):
            path.parent.mkdir(parents=True)

    def converge(self, taken: str = "") -> tuple[str, bool]:
        self.diff.clear()
        return machine_id.ensure_machine_id(self, taken), self.changed


@pytest.fixture
def node(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_id_of_its_own_stays(node: Machine) -> None:
    node.file.write_text(f"{GOOD}\n")
    assert node.converge("f" * 32) == (GOOD, False)
    assert node.commands == []


@pytest.mark.parametrize("text", [None, "", "\n", "uninitialized\n", "0" * 32, "ABC", GOOD[:31]])
def test_what_is_no_id_is_replaced_once(node: Machine, text: str | None) -> None:
    if text is not None:
        node.file.write_text(text)
    found, changed = node.converge()
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert changed
    assert node.file.read_text() == f"{found}\n"
    assert node.file.stat().st_mode & 0o777 == 0o444
    assert node.converge() == (found, False)


def test_another_node_s_id_is_replaced_and_journald_goes_on_under_the_new_one(node: Machine) -> None:
    node.file.write_text(f"{GOOD}\n")
    found, changed = node.converge(GOOD)
    assert changed
    assert found != GOOD
    assert node.commands == ["systemctl try-restart systemd-journald.service"]
    assert node.converge(GOOD) == (found, False)


def test_d_bus_has_no_copy_of_the_old_one(node: Machine) -> None:
    node.file.write_text(GOOD)
    node.dbus.write_text(GOOD)
    found, _changed = node.converge(GOOD)
    assert node.dbus.read_text() == f"{found}\n"


def test_a_run_that_was_killed_before_d_bus_was_told_is_repaired(node: Machine) -> None:
    node.file.write_text(GOOD)
    node.dbus.write_text("f" * 32)
    assert node.converge("f" * 32) == (GOOD, True)
    assert node.dbus.read_text() == f"{GOOD}\n"
    assert node.converge("f" * 32) == (GOOD, False)


def test_d_bus_s_link_stays_one(node: Machine) -> None:
    node.file.write_text(GOOD)
    node.dbus.symlink_to(node.file)
    node.converge(GOOD)
    assert node.dbus.is_symlink()


def test_an_id_that_would_be_gone_after_the_next_start_is_written_down(node: Machine) -> None:
    node.file.write_text(GOOD)
    node.write(machine_id.MOUNTS, TMPFS)
    assert node.converge() == (GOOD, True)
    assert node.commands == ["systemd-machine-id-setup --commit"]


def test_an_id_in_memory_is_unmounted_before_it_is_replaced(node: Machine) -> None:
    node.file.write_text("uninitialized\n")
    node.write(machine_id.MOUNTS, TMPFS)
    assert node.converge()[1]
    assert node.commands[0] == "umount /etc/machine-id"


def test_check_mode_says_so_and_changes_nothing(tmp_path: Path) -> None:
    node = Machine(tmp_path, check_mode=True)
    node.file.write_text(GOOD)
    node.write(machine_id.MOUNTS, TMPFS)
    assert node.converge(GOOD) == (GOOD, True)
    assert node.converge() == (GOOD, True)
    assert (node.file.read_text(), node.commands) == (GOOD, [])


def test_only_a_mount_in_memory_is_transient() -> None:
    assert machine_id.is_transient(TMPFS)
    assert not machine_id.is_transient(TMPFS.replace("- tmpfs", "- ext4"))
    assert not machine_id.is_transient("25 1 8:2 / / rw - ext4 /dev/sda2 rw\n")
