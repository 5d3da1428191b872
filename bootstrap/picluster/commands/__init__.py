"""The commands of picluster, one module each: ``add_to`` describes its options, and sets ``run`` to what it does.

``run(options, report)`` returns the exit code. It checks everything before it changes anything: bad input is a
PiclusterError, which ends as one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from picluster.console.report import Report

    # argparse has no public names for what add_subparsers() returns, nor for what parsers and their groups share.
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001
    Options = argparse._ActionsContainer  # noqa: SLF001

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
# So many cards failed, plus this: apart from bad input, and below the codes that shells use for signals.
EXIT_CARDS = 10
_EXIT_CARDS_MAX = 99


def exit_cards(failed: int) -> int:
    """Return the exit code that says how many cards failed: 11 is one, 99 is 89 or more, and 0 none."""
    return min(EXIT_CARDS + failed, _EXIT_CARDS_MAX) if failed else 0


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json, which every command has."""
    parser.add_argument("--json", action="store_true", help="events as JSON lines instead of text")


def path(text: str) -> Path:
    """Return the path that an option names; an unset shell variable is not the current directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty name was given: name a file or directory")
    return Path(text)


def somebody_to_ask(report: Report) -> bool:
    """Whether a question would be answered: by a person at a terminal, not by a program or a closed standard input."""
    # Python's None for a closed stream is not in the type of sys.stdin.
    return not report.json and sys.stdin is not None and sys.stdin.isatty()
