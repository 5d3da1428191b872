"""picluster inventory: the inventory without cards; nodes join it, and leave it by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from picluster.commands import planning
from picluster.errors import PiclusterError
from picluster.inventory import edit as inventory_edit
from picluster.inventory import keys, names, plan

if TYPE_CHECKING:
    import argparse

    from picluster.commands import Subparsers
    from picluster.console.report import Report


def add_to(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser("inventory", help="write the inventory without burning")
    planning.add_nodes(parser)
    parser.add_argument("--key", type=Path, action="append", default=[], metavar="FILE", help="public SSH key")
    parser.add_argument("--remove", action="store_true", help="take these nodes out of the inventory")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, report: Report) -> int:
    """Write the inventory."""
    if options.remove:
        return _remove(options, report)
    if options.key:
        keys.read_keys(options.key)
    _, planned = planning.make_plan(options, None, client_id=None)
    planning.say_plan(report, planned)
    if not options.dry_run:
        plan.apply(planned)
    planning.say_inventory(report, planned, dry_run=options.dry_run)
    return 0


def _remove(options: argparse.Namespace, report: Report) -> int:
    nodes = names.expand_names(options.name)
    for option in ("ips", "prefix", "gateway", "dns", "user", "arch", "key"):
        if getattr(options, option) not in (None, []):
            raise PiclusterError(f"--{option} says nothing of nodes that leave: --remove takes --name alone")
    cluster = names.check_cluster_name(options.cluster) if options.cluster is not None else names.cluster_of(nodes)
    edit = inventory_edit.remove(options.inventories / cluster, nodes)
    if not options.dry_run:
        edit.apply()
    planning.say_edit(report, edit, dry_run=options.dry_run)
    return 0
