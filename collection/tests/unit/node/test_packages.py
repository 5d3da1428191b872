from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node import old_packages as packages
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_packages import Apt

if TYPE_CHECKING:
    from pathlib import Path


class Node:
    """A node's package system: what is known and installed, and how apt-get fares."""

    check_mode = False

    def __init__(self, known: set[str], after_update: set[str], *, interrupted: bool = False) -> None:
        self.known, self.after_update, self.interrupted = known, after_update, interrupted
        self.installed: set[str] = set()
        self.said: list[str] = []

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        self.said.append(" ".join(command))
        program, *rest = command
        if program == "dpkg-query":
            return 1, "".join(f"{name} installed\n" for name in rest if name in self.installed), ""
        if program == "apt-cache":
            return 0, "".join(f"{name}:\n  Candidate: 1\n" for name in rest if name in self.known), ""
        if program == "dpkg":
            self.interrupted = False
            return 0, "", ""
        if program == "apt-get":
            return self.get(rest)
        return 0, "", ""

    def get(self, rest: list[str]) -> tuple[int, str, str]:
        if self.interrupted:
            return (
                100,
                "",
                "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.",
            )
        if "update" in rest:
            self.known = self.after_update
            return 0, "", ""
        wanted = rest[rest.index("--no-install-recommends") + 1 :]
        if not set(wanted) <= self.known:
            return 100, "", f"E: Unable to locate package {wanted[0]}"
        self.installed |= set(wanted)
        return 0, "", ""


def install(node: Node, *names: str) -> Node:
    Apt(node, lock_timeout=5).install(list(names), optional=set())  # type: ignore[arg-type] # a stand-in for the module
    return node


def test_a_stock_card_without_lists_fetches_them_first() -> None:
    node = install(Node(known=set(), after_update={"java"}), "java")
    assert node.installed == {"java"}
    assert sum(" update" in said for said in node.said) == 1


def test_known_packages_cost_no_update() -> None:
    node = install(Node(known={"java"}, after_update={"java"}), "java")
    assert not any(" update" in said for said in node.said)


def test_a_power_cut_within_dpkg_is_mended() -> None:
    node = install(Node(known={"java"}, after_update={"java"}, interrupted=True), "java")
    assert node.installed == {"java"}
    assert sum(said.startswith("dpkg --configure -a") for said in node.said) == 1


def test_a_package_that_nobody_has_is_named() -> None:
    with pytest.raises(ValueError, match="Unable to locate package jawa"):
        install(Node(known=set(), after_update={"java"}), "jawa")


def test_a_first_boot_that_never_ends_is_waited_for_no_longer_than_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_CLOUD_RUN", str(tmp_path))
    monkeypatch.setattr(packages, "_CLOUD_INIT", str(tmp_path))
    node = install(Node(known={"java"}, after_update={"java"}), "java")
    assert "timeout 5 cloud-init status --wait" in node.said
    assert node.installed == {"java"}
