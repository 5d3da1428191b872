"""The node's packages: installed from lists that may be missing or old, removed, shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages
from ansible_collections.picluster.cloud.plugins.modules.packages import converge

if TYPE_CHECKING:
    from pathlib import Path


class Debian(FakeNode):
    """A node's package system: what is known and installed, and how apt-get fares."""

    def __init__(
        self,
        root: Path,
        known: set[str],
        after_update: set[str],
        *,
        interrupted: bool = False,
        check_mode: bool = False,
    ) -> None:
        super().__init__(root, check_mode=check_mode)
        self.known, self.after_update, self.interrupted = known, after_update, interrupted
        self.has: set[str] = set()
        self.answers = {
            "dpkg-query": lambda *names: Outcome(
                1, "".join(f"{name} installed\n" for name in names if name in self.has)
            ),
            "apt-cache policy": lambda *names: "".join(f"{n}:\n  Candidate: 1\n" for n in names if n in self.known),
            "dpkg": self.configure,
            "apt-get": self.get,
            "timeout": "",
        }

    def configure(self, *_command: str) -> str:
        self.interrupted = False
        return ""

    def get(self, *command: str) -> Outcome:
        if self.interrupted:
            return Outcome(
                100,
                err="E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.",
            )
        if "update" in command:
            self.known = self.after_update
            return Outcome(0)
        if "remove" in command:
            self.has -= set(command)
            return Outcome(0)
        names = command[command.index("--no-install-recommends") + 1 :]
        if not set(names) <= self.known:
            return Outcome(100, err=f"E: Unable to locate package {names[0]}")
        self.has |= set(names)
        return Outcome(0)

    def install(self, *names: str, optional: frozenset[str] = frozenset()) -> list[str]:
        return Packages(self, 5).install(list(names), optional)


def test_a_stock_card_without_lists_fetches_them_first(tmp_path: Path) -> None:
    node = Debian(tmp_path, known=set(), after_update={"java"})
    assert node.install("java") == ["java"]
    assert node.has == {"java"}
    assert sum(" update" in command for command in node.commands) == 1
    assert node.diff == [{"before_header": "packages", "after_header": "packages", "before": "", "after": "java\n"}]


def test_a_second_call_of_the_module_changes_nothing(tmp_path: Path) -> None:
    node = Debian(tmp_path, known={"java"}, after_update=set())
    node.has = {"vim"}
    options = {"names": ["vim", "java"], "lock_timeout": 5}
    assert converge(node, options) == {"installed": ["java"]}
    before = len(node.diff)
    assert converge(node, options) == {"installed": []}
    assert (before, len(node.diff)) == (1, 1)


def test_known_packages_cost_no_update(tmp_path: Path) -> None:
    node = Debian(tmp_path, known={"java"}, after_update={"java"})
    node.install("java")
    assert not any(" update" in command for command in node.commands)


def test_an_optional_package_that_the_release_lacks_is_left_out(tmp_path: Path) -> None:
    node = Debian(tmp_path, known={"java"}, after_update={"java"})
    assert node.install("java", "docker-cli", optional=frozenset({"docker-cli"})) == ["java"]
    assert node.install("docker-cli", optional=frozenset({"docker-cli"})) == []


def test_a_power_cut_within_dpkg_is_repaired(tmp_path: Path) -> None:
    node = Debian(tmp_path, known={"java"}, after_update={"java"}, interrupted=True)
    node.install("java")
    assert node.has == {"java"}
    assert sum(command.startswith("dpkg --configure -a") for command in node.commands) == 1


def test_a_package_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Unable to locate package jawa"):
        Debian(tmp_path, known=set(), after_update={"java"}).install("jawa")


def test_check_mode_reports_packages_and_runs_no_apt_get(tmp_path: Path) -> None:
    node = Debian(tmp_path, known={"java"}, after_update={"java"})
    node.check_mode = True
    node.has = {"vim"}
    node.install("java")
    Packages(node, 5).remove(["vim"])
    assert not any(command.startswith("apt-get") for command in node.commands)
    assert [(entry["before"], entry["after"]) for entry in node.diff] == [("", "java\n"), ("vim\n", "")]


def test_nothing_to_install_or_remove_is_no_change(tmp_path: Path) -> None:
    node = Debian(tmp_path, known=set(), after_update=set())
    Packages(node, 5).install([])
    Packages(node, 5).remove([])
    assert (node.commands, node.diff) == ([], [])


@pytest.mark.parametrize(("timeout", "waits"), [(0, 0), (60, 1)])
def test_a_first_boot_that_never_ends_is_waited_for_no_longer_than_a_lock(
    tmp_path: Path, timeout: int, waits: int
) -> None:
    node = Debian(tmp_path, known={"java"}, after_update={"java"})
    node.path("/run/cloud-init").mkdir(parents=True)
    node.write("/usr/bin/cloud-init", "")
    Packages(node, timeout).install(["java"])
    # For timeout(1), 0 seconds would be for ever.
    assert node.commands.count(f"timeout {timeout} cloud-init status --wait") == waits
    assert node.has == {"java"}


@pytest.mark.parametrize("seconds", [-1, 86401])
def test_a_wait_out_of_range_is_refused(tmp_path: Path, seconds: int) -> None:
    with pytest.raises(UserError, match=f"lock_timeout is out of range: {seconds}; expected 0 to 86400 seconds"):
        Packages(FakeNode(tmp_path), seconds)
