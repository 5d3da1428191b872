"""A lock of apt's that another program holds: waited for, and named when the time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.node import packages
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import LockedError, Packages, lock_holder

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


class Locked(FakeNode):
    """A node on which apt-get fails as listed, one time after the other, and works from then on."""

    def __init__(self, root: Path, *failures: tuple[str, str]) -> None:
        super().__init__(root, {"apt-cache": "hello:\n  Candidate: 1\n", "apt-get": self.get})
        self.failures = list(failures)
        self.tries = 0

    def get(self, *_command: str) -> Outcome:
        self.tries += 1
        if not self.failures:
            return Outcome(0)
        err, out = self.failures.pop(0)
        return Outcome(100, out, err)


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
def test_the_holder_of_the_lock_is_named(said: str, sentence: str) -> None:
    assert lock_holder(said) == sentence


def test_a_lock_that_is_released_in_time_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_POLL_SECONDS", 0.0)
    node = Locked(tmp_path, LISTS, OPEN)
    Packages(node, 60).install(["hello"])
    assert node.tries == 3


def test_a_lock_that_is_never_released_ends_in_one_sentence_and_is_not_waited_for_twice(tmp_path: Path) -> None:
    node = Locked(tmp_path, FRONTEND, FRONTEND)
    with pytest.raises(LockedError, match=r"process 702 \(python3\) holds /var/lib/dpkg/lock-frontend longer than 0 s"):
        Packages(node, 0).install(["hello"])
    assert node.tries == 1
