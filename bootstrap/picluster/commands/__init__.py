"""The commands of picluster, one module each: ``add_to`` describes its options, and sets ``run`` to what it does.

``run(options, report)`` returns the exit code. It checks everything before it changes anything: bad input is a
PiclusterError, which ends as one sentence and exit code 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

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
