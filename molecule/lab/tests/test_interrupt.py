"""Interrupted runs: the moment is one in which something waits, and nothing of a killed run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.errors import LabError
from lab.interrupt import MARK, Interrupted, kill_marked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.tests.fakes import FakeEngine

# Leaves its process group, as Ansible's workers and ssh's masters do; the pipe is its parent's: its end is seen.
CHILD = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


def waits(*answers: int) -> Callable[[str, Sequence[str]], tuple[int, str]]:
    """An engine's answers: these codes one after the other, the last one for good."""
    left = list(answers)
    return lambda _name, _words: (left.pop(0) if len(left) > 1 else left[0], "")


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_all_that_a_run_started_is_killed_and_nothing_else() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", PARENT], env={**os.environ, MARK: "a1"}, stdout=subprocess.PIPE) as run,
        subprocess.Popen(
            [sys.executable, "-c", CHILD], env={**os.environ, MARK: "b2"}, stdout=subprocess.PIPE
        ) as other,
    ):
        assert run.stdout is not None
        assert other.stdout is not None
        child = int(run.stdout.readline())
        other.stdout.readline()
        assert kill_marked("a1") == 2
        # Its end of the pipe closes with the child.
        assert run.stdout.read() == b""
        assert gone(child)
        assert run.wait() == -9
        assert other.poll() is None
        assert kill_marked("b2") == 1


def test_a_run_is_killed_while_its_change_waits(engine: FakeEngine) -> None:
    engine.answer = waits(1, 0)
    run = Interrupted(engine, "red-red1", "firewall", [sys.executable, "-c", "import time; time.sleep(600)"])
    assert run.run(None) == -9
    looks: list[Sequence[str]] = [words for name, words in engine.executed if name == "red-red1"]
    assert "/var/lib/picluster/rollback/firewall/manifest" in looks[0]


def test_a_run_goes_on_after_what_happened_to_the_node(engine: FakeEngine, tmp_path: Path) -> None:
    engine.answer = waits(0)
    happened = tmp_path / "happened"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(happened)!r}).exists(): time.sleep(0.01)"
    run = Interrupted(
        engine, "red-red1", "sshd", [sys.executable, "-c", f"{wait}\nprint('after')\nraise SystemExit(3)"]
    )
    assert run.run(happened.touch) == 3
    assert run.said == "after\n"


def test_a_run_that_changes_nothing_is_told(engine: FakeEngine) -> None:
    engine.answer = waits(124)
    with pytest.raises(LabError, match="ended without a change of firewall"):
        Interrupted(engine, "red-red1", "firewall", ["true"]).run(None)


def test_a_run_that_was_confirmed_before_it_could_be_killed_is_told(engine: FakeEngine) -> None:
    engine.answer = waits(0, 1)
    run = Interrupted(engine, "red-red1", "firewall", [sys.executable, "-c", "import time; time.sleep(600)"])
    with pytest.raises(LabError, match="confirmed before"):
        run.run(None)


@pytest.mark.parametrize("name", ["", "../sshd", "SSHD", "a b"])
def test_a_name_that_no_rollback_has_is_refused(engine: FakeEngine, name: str) -> None:
    with pytest.raises(LabError, match="--armed takes a word"):
        Interrupted(engine, "red-red1", name, ["true"])
