"""picluster inventory: write the inventory without cards, or remove nodes from it by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from picluster.commands import add_command, changes, nodes
from picluster.errors import PiclusterError
from picluster.inventory import edit, keys, plan

if TYPE_CHECKING:
    import argparse

    from picluster.commands import Subparsers
    from picluster.console.report import Report


@dataclass(frozen=True)
class ChangeRequest:
    """What the options say."""

    nodes: plan.InventoryRequest
    remove: bool
    dry_run: bool


def add_to(commands: Subparsers) -> None:
    """Declare the command."""
    about = "add nodes to the inventory of a cluster, or remove them, without burning cards"
    parser = add_command(commands, "inventory", about)
    nodes.add_nodes(parser, arch=plan.ARCHS[0])
    parser.add_argument("--remove", action="store_true", help="remove these nodes from the inventory")
    parser.set_defaults(parse=parse, run=run)


def parse(options: argparse.Namespace) -> ChangeRequest:
    """Return the request of the command."""
    for option in ("ips", "prefix", "gateway", "dns", "user", "arch", "key") if options.remove else ():
        if getattr(options, option) not in (None, []):
            raise PiclusterError(f"--{option} does not apply to nodes that are removed; omit it")
    keys.read_keys(options.key)
    return ChangeRequest(nodes.parse_nodes(options), options.remove, options.dry_run)


def run(request: ChangeRequest, report: Report) -> int:
    """Write the inventory."""
    if request.remove:
        leaving = edit.remove(request.nodes.folder, request.nodes.names)
        if not request.dry_run:
            leaving.apply()
        changes.report_edit(report, leaving, dry_run=request.dry_run)
        return 0
    planned = plan.plan(request.nodes)
    changes.report_plan(report, planned)
    if not request.dry_run:
        plan.apply(planned)
    changes.report_files(report, planned, dry_run=request.dry_run)
    return 0
