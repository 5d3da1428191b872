"""Swap of a Raspberry Pi, on a node that is a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakedebian import FakeDebian
from fakenode import NOT_FOUND, RUNNING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.rules import BoardMark
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.swap import (
    DPHYS,
    GENERATOR,
    PACKAGE,
    RPI_CONF,
    ZRAM_CONF,
    Swap,
)

if TYPE_CHECKING:
    from pathlib import Path

SWAP_FILE = "\0" * 4086 + "SWAPSPACE2"
START, STOP = "systemctl start dev-zram0.swap", "systemctl stop dev-zram0.swap systemd-zram-setup@zram0.service"


class Swapping(FakeDebian):
    """A node's swap.

    Attributes:
        fits: Whether the content of the swap file fits into memory, so that it can be swapped off.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, units={DPHYS: NOT_FOUND})
        self.fits = True
        self.answers |= {
            "systemd-detect-virt": Outcome(1),
            "modinfo": Outcome(1, err="not found"),
            START: lambda *_: self.in_use("/dev/zram0"),
            f"systemctl disable --now {DPHYS}": self.disable,
        }
        self.write("/sys/class/zram-control/hot_add", "0")
        self.in_use()

    def in_use(self, *names: str) -> str:
        self.write("/proc/swaps", "".join(f"{name} x 1 0 1\n" for name in ("Filename", *names)))
        return ""

    def disable(self, *_command: str) -> None:
        if self.fits:
            self.in_use()

    @property
    def dphys(self) -> str:
        return self.unit_states[DPHYS]["UnitFileState"]

    def with_swap_file(self) -> Path:
        """Have what Bookworm has."""
        self.unit_states[DPHYS] = dict(RUNNING)
        self.in_use("/var/swap")
        return self.write("/var/swap", SWAP_FILE)

    @property
    def actions(self) -> list[str]:
        return [action for action in super().actions if action.startswith("systemctl")]


class Run:
    """One call of the module's part for the swap."""

    def __init__(self, node: Swapping, desired: str, mark: BoardMark | None = None) -> None:
        node.diff.clear()
        node.commands.clear()
        self.node = node
        self.kept: list[BoardMark] = []
        self.restart = self.required_first = False
        swap = Swap(node, Packages(node, 5), self.kept.append, self.require_restart)
        self.mark = swap.converge(desired, mark or BoardMark())
        self.diff = list(node.diff)

    def require_restart(self) -> None:
        self.restart, self.required_first = True, not self.node.diff


@pytest.fixture
def node(tmp_path: Path) -> Swapping:
    return Swapping(tmp_path)


def test_bookworm_s_file_goes_zram_comes_and_a_second_run_changes_nothing(node: Swapping) -> None:
    path = node.with_swap_file()
    first = Run(node, "zram")
    assert first.mark == BoardMark(swap_file=True, packages=[PACKAGE])
    assert (node.dphys, path.exists(), node.packages) == ("disabled", False, {PACKAGE})
    # What is in the old swap needs a place to go.
    assert node.actions.index(START) < node.actions.index(f"systemctl disable --now {DPHYS}")
    node.in_use("/dev/zram0")
    again = Run(node, "zram", first.mark)
    assert (again.diff, again.kept, again.mark, node.actions) == ([], [], first.mark, [])


def test_everything_is_undone(node: Swapping) -> None:
    node.with_swap_file()
    mark = Run(node, "zram").mark
    back = Run(node, "image", mark)
    assert (back.mark, node.dphys, node.packages) == (BoardMark(), "enabled", set())
    assert "systemctl start dphys-swapfile.service" in node.actions
    assert not node.path(ZRAM_CONF).exists()
    assert Run(node, "image", back.mark).diff == []


def test_without_swap_there_is_neither_file_nor_zram(node: Swapping) -> None:
    path = node.with_swap_file()
    mark = Run(node, "none", Run(node, "zram").mark).mark
    assert (mark, node.packages, path.exists()) == (BoardMark(swap_file=True), set(), False)
    assert Run(node, "none", mark).diff == []


def test_what_the_image_has_is_left_alone(node: Swapping) -> None:
    path = node.with_swap_file()
    run = Run(node, "image")
    assert (run.diff, run.mark, node.actions, path.exists()) == ([], BoardMark(), [], True)


def test_content_that_does_not_fit_into_memory_is_not_deleted(node: Swapping) -> None:
    path = node.with_swap_file()
    node.fits = False
    run = Run(node, "none")
    assert (path.exists(), run.restart) == (True, True)
    assert "still in use" in node.module.warnings[0]
    node.in_use()
    assert not Run(node, "none", run.mark).restart
    assert not path.exists()


def test_a_file_that_is_no_swap_is_not_removed(node: Swapping) -> None:
    node.with_swap_file()
    node.write("/etc/dphys-swapfile", "CONF_SWAPFILE=/srv/thesis.txt\n")
    path = node.write("/srv/thesis.txt", "my work")
    Run(node, "none")
    assert path.read_text("utf-8") == "my work"


def test_a_swap_file_that_the_user_disabled_is_left_to_the_user(node: Swapping) -> None:
    path = node.with_swap_file()
    node.unit_states[DPHYS]["UnitFileState"] = "disabled"
    node.in_use()
    assert (Run(node, "none").diff, path.exists()) == ([], True)


@pytest.mark.parametrize("desired", ["zram", "none"])
def test_trixie_s_rpi_swap_is_configured_and_requires_a_restart(node: Swapping, desired: str) -> None:
    node.write(GENERATOR, "#!/bin/sh\n")
    first = Run(node, desired)
    assert node.path(RPI_CONF).read_text("utf-8").splitlines()[1:] == ["[Main]", f"Mechanism={desired}"]
    # A call that is killed after the change would not require it again.
    assert (first.restart, first.required_first) == (True, True)
    assert (first.mark, node.packages) == (BoardMark(), set())
    again = Run(node, desired)
    assert (again.restart, again.diff) == (False, [])
    assert Run(node, "image").restart
    assert not node.path(RPI_CONF).exists()


def test_zram_that_is_not_ours_is_left_alone(node: Swapping) -> None:
    node.in_use("/dev/zram0")
    run = Run(node, "zram")
    assert (run.diff, node.actions, node.packages) == ([], [], set())
    assert Run(node, "none").diff == []


@pytest.mark.parametrize("lack", ["kernel", "container"])
def test_a_node_without_zram_of_its_own_is_a_warning(node: Swapping, lack: str) -> None:
    if lack == "container":
        node.answers["systemd-detect-virt"] = ""
    if lack == "kernel":
        node.path("/sys/class/zram-control/hot_add").unlink()
        node.path("/sys/class/zram-control").rmdir()
    run = Run(node, "zram")
    assert (run.diff, node.packages) == ([], set())
    assert "no zram of its own" in node.module.warnings[0]


def test_a_release_without_the_package_is_a_warning_and_nothing_stays(node: Swapping) -> None:
    node.absent = {PACKAGE}
    run = Run(node, "zram")
    assert (run.diff, run.mark, run.kept[-1]) == ([], BoardMark(), BoardMark())
    assert f"this release has no package {PACKAGE}" in node.module.warnings[0]
    assert not node.path(ZRAM_CONF).exists()


def test_any_other_failure_of_apt_fails_the_run(node: Swapping) -> None:
    path = node.with_swap_file()
    node.answers["apt-get"] = Outcome(100, err="E: No space left on device")
    with pytest.raises(UserError, match="No space left on device"):
        Run(node, "zram")
    assert path.exists()


def test_zram_that_a_killed_run_did_not_start_is_started(node: Swapping) -> None:
    mark = Run(node, "zram").mark
    node.in_use()
    assert Run(node, "zram", mark).diff
    assert node.actions == ["systemctl daemon-reload", START]


def test_another_size_takes_effect(node: Swapping) -> None:
    mark = Run(node, "zram").mark
    node.write(ZRAM_CONF, "[zram0]\nzram-size = 1\n")
    Run(node, "zram", mark)
    assert node.actions == ["systemctl daemon-reload", STOP, START]


@pytest.mark.parametrize("desired", ["zram", "none"])
def test_check_mode_changes_nothing(node: Swapping, desired: str) -> None:
    path = node.with_swap_file()
    node.check_mode = True
    assert Run(node, desired).diff
    assert (node.actions, node.packages, node.dphys, path.exists()) == ([], set(), "enabled", True)
    assert not node.path(ZRAM_CONF).exists()
