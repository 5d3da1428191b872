"""The commands of picluster, one module each.

``add_to`` declares the options of a command and sets two functions as their defaults. ``parse(options)`` turns the
parsed options into the typed request of the command; ``run(request, report)`` executes it and returns the exit code.
Both check everything before anything changes: bad input is a PiclusterError, reported as one sentence with exit code 2.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable

    # argparse has no public names for what add_subparsers() returns, nor for what parsers and their groups share.
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001
    Options = argparse._ActionsContainer  # noqa: SLF001

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def exit_cards(failed: int) -> int:
    """Return the exit code for this many failed cards: 0 for none, 11 for one, 99 for 89 or more."""
    # Distinct from bad input, and below the codes that shells use for signals.
    return min(10 + failed, 99) if failed else 0


def add_command(commands: Subparsers, name: str, about: str, more: str = "") -> argparse.ArgumentParser:
    """Add a command; the first sentence of its --help is its line in the list of commands."""
    return commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}. {more}")


def add_json(parser: Options) -> None:
    """Add --json, which every command has."""
    parser.add_argument("--json", action="store_true", help="print events as JSON lines instead of text")


def add_dry_run(parser: Options) -> None:
    """Add --dry-run."""
    parser.add_argument("--dry-run", action="store_true", help="check everything and write nothing")


def path(text: str) -> Path:
    """Return the path that an option names; an unset shell variable is not the current directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty; expected a file or directory")
    return Path(text)


def number(option: str, kind: type[int | float], expected: str) -> Callable[[str], float]:
    """Return the argparse type of an option that is a number.

    Args:
        option: Its name, for the error message.
        kind: int or float.
        expected: Which numbers, for the error message; the range is checked where it is known.
    """

    def parse(text: str) -> float:
        try:
            return kind(text)
        except ValueError as error:
            raise PiclusterError(f"{option} {text!r} is not a number; expected {expected}") from error

    return parse


def can_ask(*, as_json: bool) -> bool:
    """Return whether a person at a terminal would answer a question."""
    # Python's None for a closed stream is not in the type of sys.stdin.
    return not as_json and sys.stdin is not None and sys.stdin.isatty()
