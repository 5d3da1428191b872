"""A lock of apt's that another program holds: waited for, and named when the time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node import old_packages as packages
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_packages import Apt, LockedError, busy

if TYPE_CHECKING:
    from pathlib import Path

# As apt 2.6 (bookworm) and 3.0 (trixie) say it; whom they wait for is told only on standard output.
FRONTEND = (
    "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?\n",
    "Waiting for cache lock: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 702 (python3)...\n",
)
LISTS = (
    "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 703 (apt-get)\nE: Unable to lock directory\n",
    "Reading package lists...\n",
)
OPEN = ("E: Could not get lock /var/lib/apt/lists/lock - open (11: Resource temporarily unavailable)\n", "")


class Node:
    """A node on which apt-get fares as told, one time after the other, and well from then on."""

    def __init__(self, *failures: tuple[str, str]) -> None:
        self.failures = list(failures)
        self.asked = 0

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if command[0] == "apt-cache":
            return 0, "hello:\n  Candidate: 1\n", ""
        if command[0] != "apt-get":
            return 0, "", ""
        self.asked += 1
        if not self.failures:
            return 0, "", ""
        err, out = self.failures.pop(0)
        return 100, out, err


def install(node: Node, timeout: int) -> None:
    Apt(node, timeout).install(["hello"], optional=set())  # type: ignore[arg-type]  # a stand-in for the module


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("".join(FRONTEND), "process 702 (python3) holds /var/lib/dpkg/lock-frontend"),
        ("".join(LISTS), "process 703 (apt-get) holds /var/lib/apt/lists/lock"),
        ("".join(OPEN), "another program holds /var/lib/apt/lists/lock"),
        ("E: Unable to lock the administration directory (/var/lib/dpkg/), is another process using it?\n",
         "another program holds /var/lib/dpkg/"),
        ("E: Unable to locate package jawa\n", ""),
        (FRONTEND[1] + "E: Unable to locate package jawa\n", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_who_holds_the_lock_is_told(said: str, sentence: str) -> None:
    assert busy(said) == sentence


def test_a_lock_that_is_given_back_in_time_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_POLL_SECONDS", 0.0)
    node = Node(LISTS, OPEN)
    install(node, timeout=60)
    assert node.asked == 3


def test_a_lock_that_is_not_given_back_ends_in_one_sentence_and_is_not_waited_for_twice() -> None:
    node = Node(FRONTEND, FRONTEND)
    with pytest.raises(LockedError, match=r"process 702 \(python3\) holds /var/lib/dpkg/lock-frontend longer than 0 s"):
        install(node, timeout=0)
    assert node.asked == 1


@pytest.mark.parametrize(("timeout", "waits"), [(0, 0), (60, 1)])
def test_a_first_boot_that_hangs_is_waited_for_no_longer_than_for_a_lock(
    timeout: int, waits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_CLOUD_RUN", str(tmp_path))
    monkeypatch.setattr(packages, "_CLOUD_INIT", str(tmp_path))
    commands: list[list[str]] = []

    class Noting(Node):
        def run_command(self, command: list[str], **more: Any) -> tuple[int, str, str]:
            commands.append(command)
            return super().run_command(command, **more)

    install(Noting(), timeout=timeout)
    # For timeout(1), 0 seconds would be for ever.
    assert [command[:2] for command in commands if "cloud-init" in command] == [["timeout", str(timeout)]] * waits
