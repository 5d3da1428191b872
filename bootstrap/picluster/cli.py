"""The programs: picluster, and cm-burn, which is picluster burn."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from picluster.commands import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    burn,
    devices,
    discover,
    images,
    inventory,
    prepare,
)
from picluster.console import streams
from picluster.console.report import Report
from picluster.errors import PiclusterError
from picluster.inventory import names

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Parser(argparse.ArgumentParser):
    """Reports errors in one sentence, without the usage text above it.

    Options cannot be abbreviated: --force would be --force-device.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as argparse has them
        super().__init__(*args, **{**options, "allow_abbrev": False})

    def error(self, message: str) -> None:  # type: ignore[override] # PiclusterError ends it as exit() would
        raise PiclusterError(f"{message} ({self.prog} --help shows all options)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="picluster",
        description="Burn the cards of a Raspberry Pi cluster, and keep its inventory for Ansible.",
        epilog="picluster COMMAND --help shows the options of a command.",
    )
    commands = parser.add_subparsers(required=True, title="commands", metavar="COMMAND")
    for command in (burn, prepare, inventory, discover, images, devices):
        command.add_to(commands)
    return parser


def _main(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    streams.steady()
    # Whether programs read the output must be known before the options are parsed, which may fail.
    report = Report(as_json="--json" in given)
    code = _run(parser, given, report)
    if report.problem:
        report.error(f"standard output cannot be written: {report.problem}", parser.prog)
        return code or EXIT_FAILED
    return code


def _run(parser: argparse.ArgumentParser, given: Sequence[str], report: Report) -> int:
    try:
        names.refuse_long_dashes(given)
        options = parser.parse_args(given)
        return int(options.run(options.parse(options), report))
    except PiclusterError as error:
        report.error(str(error), parser.prog)
        return EXIT_BAD_INPUT
    except OSError as error:
        report.error(f"{error.filename or 'a file'}: {error.strerror or error}", parser.prog)
        return EXIT_FAILED
    except KeyboardInterrupt:
        report.error("interrupted; run the same command again", parser.prog)
        return EXIT_INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run picluster.

    Return 0 for success, 2 for bad input (nothing was changed), 11 to 99 for failed cards, 130 for an interrupt, else
    1.
    """
    return _main(_parser(), arguments)


def cm_burn(arguments: Sequence[str] | None = None) -> int:
    """Run picluster burn under its short name, with the exit codes of main()."""
    parser = _Parser(prog="cm-burn", description=f"{burn.ABOUT.capitalize()}.")
    burn.add_options(parser)
    return _main(parser, arguments)
