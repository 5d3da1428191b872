"""picluster inventory: the inventory without cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from picluster import inventory, keys
from picluster.commands import planning

if TYPE_CHECKING:
    import argparse

    from picluster.commands import Subparsers
    from picluster.report import Report


def add_to(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser("inventory", help="write the inventory without burning")
    planning.add_nodes(parser)
    parser.add_argument("--key", type=Path, action="append", default=[], metavar="FILE", help="public SSH key")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, report: Report) -> int:
    """Write the inventory."""
    if options.key:
        keys.read_keys(options.key)
    _, planned = planning.make_plan(options, None, client_id=None)
    planning.say_plan(report, planned)
    if not options.dry_run:
        inventory.apply(planned)
    planning.say_inventory(report, planned, dry_run=options.dry_run)
    return 0
