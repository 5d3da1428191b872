"""Runs the parts of the tests, some beside each other, and reports what each took, the slowest first.

A part is a molecule scenario by its name, or else a target of make. Parts of one lane run one after the other, lanes
run beside each other, and what comes after the word ``then`` waits for all before it:
``python -m lab.parts unit,boots then lint base cluster`` has one lane first, then three.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.state import ROOT, lab_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What molecule logs when an action of a scenario begins: "INFO     base > converge: Executing".
_ACTION = re.compile(r"^INFO\s+\S+ (?:>|➜) (\w+): Executing$")


@dataclass
class Part:
    """One part of the tests and how it went.

    Attributes:
        name: a scenario's, or a make target's.
        scenario: whether it is a scenario.
        log: the file with its output, each line after the seconds since the part began.
        polite: whether it gives way to what runs beside it.
        actions: seconds of each action of a scenario, in their order.
    """

    name: str
    scenario: bool
    log: Path
    polite: bool = False
    seconds: float = 0.0
    passed: bool = False
    actions: list[tuple[str, float]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The name for people."""
        return f"scenario {self.name}" if self.scenario else self.name

    @property
    def command(self) -> list[str]:
        """What runs it."""
        if self.scenario:
            return ["molecule", "test", "--scenario-name", self.name]
        return [*(["nice"] if self.polite else []), "make", "--no-print-directory", self.name]

    @property
    def row(self) -> str:
        """Its line in the table."""
        actions = ", ".join(f"{name} {seconds:.0f}" for name, seconds in self.actions)
        verdict = "passed" if self.passed else "FAILED"
        return f"{self.seconds:5.0f}s  {verdict}  {self.title}" + (f" ({actions})" if actions else "")


class Clock:
    """Notes when the actions of a scenario begin, from the lines that molecule prints."""

    def __init__(self) -> None:
        self._now = ""
        self._began = 0.0
        self.actions: list[tuple[str, float]] = []

    def read(self, line: str, at: float) -> str:
        """Take one line; return the action that begins with it, or nothing."""
        found = _ACTION.match(_COLOUR.sub("", line).rstrip())
        if found is None:
            return ""
        self.end(at)
        self._now, self._began = found[1], at
        return found[1]

    def end(self, at: float) -> None:
        """End the action that runs."""
        if self._now:
            self.actions.append((self._now, at - self._began))
        self._now = ""


def show(text: str) -> None:
    """Print text at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


class Runner:
    """Runs parts, each with a log of its own."""

    def __init__(self) -> None:
        self._interrupted = False
        self._printing = threading.Lock()
        self._start = time.monotonic()
        # Flags and job slots of a make that called this program are not its parts'.
        self._environment = dict(os.environ)
        for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
            self._environment.pop(name, None)

    def stage(self, lanes: Sequence[Sequence[Part]]) -> None:
        """Run lanes beside each other, to the end of each."""
        with ThreadPoolExecutor(len(lanes)) as pool:
            running = [pool.submit(self._lane, lane, live=len(lanes) == 1) for lane in lanes]
            try:
                for done in running:
                    done.result()
            except KeyboardInterrupt:
                # The parts get Ctrl-C themselves and clear up; no other may start.
                self._interrupted = True
                raise

    def _lane(self, parts: Iterable[Part], *, live: bool) -> None:
        """Run parts one after the other, also after one has failed: each has its verdict."""
        for part in parts:
            if not self._interrupted:
                self.run(part, live=live)

    def run(self, part: Part, *, live: bool) -> None:
        """Run one part; show its output as it comes, or only if it fails where others run beside it."""
        began = time.monotonic()
        clock = Clock()
        part.log.parent.mkdir(parents=True, exist_ok=True)
        self._say(f"{part.title}: started; output in {part.log.relative_to(ROOT)}")
        with (
            part.log.open("w", encoding="utf-8") as log,
            subprocess.Popen(
                part.command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process,
        ):
            for line in process.stdout or ():
                log.write(f"{time.monotonic() - began:7.1f} {line}")
                log.flush()
                if live:
                    show(line)
                action = clock.read(line, time.monotonic()) if part.scenario else ""
                if action:
                    self._say(f"{part.title}: {action}")
        part.seconds = time.monotonic() - began
        clock.end(time.monotonic())
        part.actions = clock.actions
        part.passed = process.returncode == 0
        with self._printing:
            if not (part.passed or live):
                show(part.log.read_text("utf-8"))
        self._say(part.row)

    def _say(self, text: str) -> None:
        with self._printing:
            show(f"[{time.monotonic() - self._start:5.0f}s] {text}\n")


def plan(words: Sequence[str]) -> list[list[list[Part]]]:
    """Return the parts of each lane of each stage."""
    stages: list[list[list[Part]]] = [[]]
    for word in words:
        if word == "then":
            stages.append([])
        else:
            stages[-1].append([_part(name) for name in word.split(",")])
    for lanes in stages:
        parts = [part for lane in lanes for part in lane]
        # A scenario judges waiting times of real nodes, which a busy machine makes longer.
        for part in parts if any(part.scenario for part in parts) else ():
            part.polite = not part.scenario
    return stages


def _part(name: str) -> Part:
    return Part(name, (ROOT / "molecule" / name / "molecule.yml").is_file(), lab_folder() / ".logs" / f"{name}.log")


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts; return 0 if all passed, 1 if not, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="lab.parts", description=__doc__)
    parser.add_argument("--what", default="parts", help="what the parts are called in the closing line")
    parser.add_argument("lanes", nargs="+", metavar="PART[,PART...]", help="a lane; or: then")
    arguments = parser.parse_args(words)
    stages = plan(arguments.lanes)
    runner = Runner()
    try:
        for lanes in stages:
            runner.stage(lanes)
    except KeyboardInterrupt:
        return 130
    parts = sorted((part for lanes in stages for lane in lanes for part in lane), key=lambda part: -part.seconds)
    show("".join(f"{part.row}\n" for part in parts))
    failed = sum(not part.passed for part in parts)
    show(f"{arguments.what}: {len(parts) - failed} passed, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
