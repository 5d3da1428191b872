"""Swap of a Raspberry Pi, on a node that is a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.rules import Mark
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.swap import PACKAGE, Swap

if TYPE_CHECKING:
    from pathlib import Path

SWAP_FILE = b"\0" * 4086 + b"SWAPSPACE2"
CONF = "etc/systemd/zram-generator.conf.d/90-picluster.conf"
GENERATOR = "usr/lib/systemd/system-generators/rpi-swap-generator"
RPI_CONF = "etc/rpi/swap.conf.d/90-picluster.conf"


class Node:
    """A node's packages, units and swap."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.check_mode = False
        self.packages: set[str] = set()
        self.apt_says = ""
        self.dphys = ""
        self.fits = True
        self.container = False
        self.did: list[str] = []
        self.warnings: list[str] = []
        self.write("sys/class/zram-control/hot_add", b"0")
        self.in_use()

    def write(self, path: str, data: bytes) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return target

    def in_use(self, *names: str) -> None:
        self.write("proc/swaps", "".join(f"{name} x 1 0 1\n" for name in ("Filename", *names)).encode())

    def with_swap_file(self) -> Path:
        """Have what Bookworm has."""
        self.dphys = "enabled"
        path = self.write("var/swap", SWAP_FILE)
        self.in_use(str(path))
        return path

    # What AnsibleModule and Apt do.

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        said = " ".join(command)
        if command[0] == "systemd-detect-virt":
            return (0 if self.container else 1), "", ""
        if command[0] == "modinfo":
            return 1, "", "not found"
        if command[1] == "show":
            state = "loaded" if self.dphys else "not-found"
            return 0, f"LoadState={state}\nUnitFileState={self.dphys}\n", ""
        self.did.append(said)
        if said == "systemctl start dev-zram0.swap":
            self.in_use("/dev/zram0")
        if "dphys" in said:
            self.dphys = {"enable": "enabled", "disable": "disabled"}.get(command[1], self.dphys)
            if command[1] == "disable" and self.fits:
                self.in_use()
        return 0, "", ""

    def installed(self, names: list[str]) -> list[str]:
        return [name for name in names if name in self.packages]

    def install(self, names: list[str], optional: set[str]) -> list[str]:
        assert not optional
        if self.apt_says:
            raise ValueError(self.apt_says)
        self.packages |= set(names)
        return names

    def remove(self, names: list[str]) -> None:
        self.packages -= set(names)


class Run:
    """One call of the module's part for the swap."""

    def __init__(self, node: Node, wanted: str, mark: Mark | None = None) -> None:
        self.files = TextFiles(cast("Any", node))
        self.kept: list[Mark] = []
        swap = Swap(cast("Any", node), self.files, cast("Any", node), node.root)
        self.restart = self.said_first = False
        self.mark = swap.converge(wanted, mark or Mark(), self.kept.append, self.require_restart)

    def require_restart(self) -> None:
        self.restart, self.said_first = True, not self.files.diff


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_bookworm_s_file_goes_zram_comes_and_a_second_run_changes_nothing(node: Node) -> None:
    path = node.with_swap_file()
    first = Run(node, "zram")
    assert first.mark == Mark(swap_file=True, packages=[PACKAGE])
    assert (node.dphys, path.exists(), node.packages) == ("disabled", False, {PACKAGE})
    # What is in the old swap needs a place to go.
    assert node.did.index("systemctl start dev-zram0.swap") < node.did.index(
        "systemctl disable --now dphys-swapfile.service"
    )
    node.did.clear()
    node.in_use("/dev/zram0")
    again = Run(node, "zram", first.mark)
    assert (again.files.diff, again.kept, again.mark, node.did) == ([], [], first.mark, [])


def test_all_of_it_is_taken_back(node: Node) -> None:
    node.with_swap_file()
    mark = Run(node, "zram").mark
    back = Run(node, "image", mark)
    assert (back.mark, node.dphys, node.packages) == (Mark(), "enabled", set())
    assert "systemctl start dphys-swapfile.service" in node.did
    assert not (node.root / CONF).exists()
    assert Run(node, "image", back.mark).files.diff == []


def test_without_swap_there_is_neither_file_nor_zram(node: Node) -> None:
    path = node.with_swap_file()
    mark = Run(node, "none", Run(node, "zram").mark).mark
    assert (mark, node.packages, path.exists()) == (Mark(swap_file=True), set(), False)
    assert Run(node, "none", mark).files.diff == []


def test_what_the_image_has_is_left_alone(node: Node) -> None:
    path = node.with_swap_file()
    run = Run(node, "image")
    assert (run.files.diff, run.mark, node.did, path.exists()) == ([], Mark(), [], True)


def test_what_does_not_fit_into_memory_is_not_cut_off(node: Node) -> None:
    path = node.with_swap_file()
    node.fits = False
    run = Run(node, "none")
    assert (path.exists(), run.restart) == (True, True)
    assert "still in use" in node.warnings[0]
    node.in_use()
    assert not Run(node, "none", run.mark).restart
    assert not path.exists()


def test_a_file_that_is_no_swap_is_not_removed(node: Node) -> None:
    node.dphys = "enabled"
    node.write("etc/dphys-swapfile", b"CONF_SWAPFILE=/srv/thesis.txt\n")
    path = node.write("srv/thesis.txt", b"my work")
    Run(node, "none")
    assert path.read_bytes() == b"my work"


def test_a_swap_file_that_the_user_switched_off_is_the_user_s(node: Node) -> None:
    path = node.with_swap_file()
    node.dphys = "disabled"
    node.in_use()
    assert (Run(node, "none").files.diff, path.exists()) == ([], True)


@pytest.mark.parametrize("wanted", ["zram", "none"])
def test_trixie_s_rpi_swap_is_told_and_asks_for_a_restart(node: Node, wanted: str) -> None:
    node.write(GENERATOR, b"#!/bin/sh\n")
    first = Run(node, wanted)
    assert (node.root / RPI_CONF).read_text("utf-8").splitlines()[1:] == ["[Main]", f"Mechanism={wanted}"]
    # A call that is cut off behind the change would not say it again.
    assert (first.restart, first.said_first) == (True, True)
    assert (first.mark, node.packages) == (Mark(), set())
    again = Run(node, wanted)
    assert (again.restart, again.files.diff) == (False, [])
    assert Run(node, "image").restart
    assert not (node.root / RPI_CONF).exists()


def test_zram_of_somebody_else_is_good_enough(node: Node) -> None:
    node.in_use("/dev/zram0")
    run = Run(node, "zram")
    assert (run.files.diff, node.did, node.packages) == ([], [], set())
    assert Run(node, "none").files.diff == []


@pytest.mark.parametrize("lack", ["kernel", "container"])
def test_a_node_without_zram_of_its_own_is_told_of(node: Node, lack: str) -> None:
    node.container = lack == "container"
    if lack == "kernel":
        (node.root / "sys/class/zram-control/hot_add").unlink()
        (node.root / "sys/class/zram-control").rmdir()
    run = Run(node, "zram")
    assert (run.files.diff, node.packages) == ([], set())
    assert "no zram of its own" in node.warnings[0]


def test_a_release_without_the_package_is_told_of_and_nothing_stays(node: Node) -> None:
    node.apt_says = f"apt-get install failed: E: Unable to locate package {PACKAGE}"
    run = Run(node, "zram")
    assert (run.files.diff, run.mark, run.kept[-1]) == ([], Mark(), Mark())
    assert not (node.root / CONF).exists()


def test_any_other_trouble_of_apt_s_is_the_run_s(node: Node) -> None:
    path = node.with_swap_file()
    node.apt_says = "apt-get install failed: E: Could not get lock"
    with pytest.raises(ValueError, match="Could not get lock"):
        Run(node, "zram")
    assert path.exists()


def test_zram_that_a_killed_run_did_not_start_is_started(node: Node) -> None:
    mark = Run(node, "zram").mark
    node.in_use()
    node.did.clear()
    assert Run(node, "zram", mark).files.changed
    assert node.did == ["systemctl daemon-reload", "systemctl start dev-zram0.swap"]


def test_another_size_is_put_in_force(node: Node) -> None:
    mark = Run(node, "zram").mark
    (node.root / CONF).write_text("[zram0]\nzram-size = 1\n", "utf-8")
    node.did.clear()
    Run(node, "zram", mark)
    assert node.did == [
        "systemctl daemon-reload",
        "systemctl stop dev-zram0.swap systemd-zram-setup@zram0.service",
        "systemctl start dev-zram0.swap",
    ]


@pytest.mark.parametrize("wanted", ["zram", "none"])
def test_check_mode_touches_nothing(node: Node, wanted: str) -> None:
    path = node.with_swap_file()
    node.check_mode = True
    run = Run(node, wanted)
    assert run.files.changed
    assert (node.did, node.packages, node.dphys, path.exists()) == ([], set(), "enabled", True)
    assert not (node.root / CONF).exists()
