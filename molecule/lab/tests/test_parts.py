"""Parts of the tests: lanes run beside each other, every part has its verdict, and the slowest comes first."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from lab import parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What molecule 26.10 writes to a log, and the same without colours.
LINES = [
    "\x1b[36mINFO    \x1b[0m \x1b[32mbase\x1b[0m ➜ \x1b[33mprerun\x1b[0m: Performing prerun...\n",
    "\x1b[36mINFO    \x1b[0m \x1b[32mbase\x1b[0m ➜ \x1b[33mdestroy\x1b[0m: \x1b[36mExecuting\x1b[0m\n",
    "  │ ansible-playbook --inventory x\n",
    "INFO     base > create: Executing\n",
    "INFO     base > create: Executed: Successful\n",
]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with two scenarios, whose make and molecule are one Python program in each test's hands."""
    for name in ("base", "cluster"):
        (tmp_path / "molecule" / name).mkdir(parents=True)
        (tmp_path / "molecule" / name / "molecule.yml").touch()
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(parts, "ROOT", tmp_path)
    monkeypatch.setattr(parts, "lab_folder", lambda: tmp_path / ".lab")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    return tmp_path


@pytest.fixture
def program(checkout: Path) -> Callable[[str], None]:
    def install(body: str) -> None:
        for name in ("make", "molecule"):
            file = checkout / "bin" / name
            file.write_text(f"#!{sys.executable}\nimport os, pathlib, sys\npart = sys.argv[-1]\n{body}\n", "utf-8")
            file.chmod(0o755)

    return install


def test_actions_are_timed_from_what_molecule_prints() -> None:
    clock = parts.Clock()
    assert [clock.read(line, float(at)) for at, line in enumerate(LINES)] == ["", "destroy", "", "create", ""]
    clock.end(10.0)
    assert clock.actions == [("destroy", 2.0), ("create", 7.0)]


def test_lanes_run_beside_each_other_and_the_parts_of_one_in_turn(
    program: Callable[[str], None], checkout: Path
) -> None:
    # Each scenario waits until the other has started; unit must find what lint left.
    program(f"""
folder = pathlib.Path({str(checkout)!r})
mate = {{"base": "cluster", "cluster": "base", "unit": "lint"}}.get(part)
for name in [part] if part in ("base", "cluster") else []:
    (folder / name).touch()
while part in ("base", "cluster") and not (folder / mate).exists():
    os.sched_yield()
if part == "unit" and not (folder / "lint").exists():
    sys.exit("lint has not ended")
(folder / part).touch()
""")
    assert parts.main(["lint,unit", "base", "cluster"]) == 0


def test_a_failed_part_shows_its_output_and_stops_no_other(
    program: Callable[[str], None], checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program("print('the words of', part); sys.exit(part == 'lint')")
    assert parts.main(["lint,unit", "base"]) == 1
    said = capsys.readouterr().out
    assert "the words of lint\n" in said
    assert "the words of unit" not in said
    assert re.fullmatch(r" +\d+\.\d the words of unit\n", (checkout / ".lab/.logs/unit.log").read_text("utf-8"))
    *_, closing = said.splitlines()
    assert closing == "parts: 2 passed, 1 failed"


def test_the_slowest_part_comes_first_and_scenarios_are_called_so(
    program: Callable[[str], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("print('INFO     base > create: Executing')")
    took = {"unit": 3.0, "base": 70.0}

    def run(self: parts.Runner, part: parts.Part, *, live: bool) -> None:
        real(self, part, live=live)
        part.seconds = took[part.name]

    real = parts.Runner.run
    monkeypatch.setattr(parts.Runner, "run", run)
    assert parts.main(["--what", "scenarios", "unit", "base"]) == 0
    *_, first, second, closing = capsys.readouterr().out.splitlines()
    assert first == "   70s  passed  scenario base (create 0)"
    assert second == "    3s  passed  unit"
    assert closing == "scenarios: 2 passed, 0 failed"


def test_one_lane_shows_its_output_as_it_comes(
    program: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    program("print('the words of', part)")
    assert parts.main(["lint,unit"]) == 0
    said = capsys.readouterr().out
    assert said.count("the words of lint\n") == 1
    assert said.index("the words of lint\n") < said.index("the words of unit\n")


def test_a_stage_waits_for_the_one_before_and_gives_way_to_its_scenarios(
    program: Callable[[str], None], checkout: Path
) -> None:
    program(f"""
folder = pathlib.Path({str(checkout)!r})
if part in ("lint", "base") and not (folder / "unit").exists():
    sys.exit("unit has not ended")
(folder / part).write_text(str(os.nice(0)))
""")
    assert parts.main(["unit", "then", "lint", "base"]) == 0
    nice = {name: int((checkout / name).read_text("utf-8")) for name in ("unit", "lint", "base")}
    assert nice["unit"] == nice["base"] < nice["lint"]
