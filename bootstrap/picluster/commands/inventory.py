"""picluster inventory: write the inventory without cards, or remove nodes from it by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from picluster.commands import changes, nodes
from picluster.errors import PiclusterError
from picluster.inventory import edit, keys, names, plan

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from picluster.commands import Subparsers
    from picluster.console.report import Report


@dataclass(frozen=True)
class RemovalRequest:
    """Nodes that leave an inventory.

    Attributes:
        folder: Directory of the inventory.
        names: The nodes.
    """

    folder: Path
    names: Sequence[str]


@dataclass(frozen=True)
class ChangeRequest:
    """What becomes of the inventory.

    Attributes:
        change: The nodes that it gets, or those that leave it.
        dry_run: Whether nothing is written.
    """

    change: plan.InventoryRequest | RemovalRequest
    dry_run: bool


def add_to(commands: Subparsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "inventory",
        help="write the inventory without burning cards",
        description="Add nodes to the inventory of a cluster, or remove them, without burning cards.",
    )
    nodes.add_nodes(parser)
    nodes.add_key(parser)
    parser.add_argument("--remove", action="store_true", help="remove these nodes from the inventory")
    parser.set_defaults(parse=parse, run=run)


def parse(options: argparse.Namespace) -> ChangeRequest:
    """Return the request of the command."""
    if not options.remove:
        keys.read_keys(options.key)
        return ChangeRequest(nodes.parse_nodes(options), options.dry_run)
    for option in ("ips", "prefix", "gateway", "dns", "user", "arch", "key"):
        if getattr(options, option) not in (None, []):
            raise PiclusterError(f"--{option} does not apply to nodes that are removed: leave it out")
    leaving = names.expand_names(options.name)
    return ChangeRequest(RemovalRequest(nodes.parse_folder(options, leaving), leaving), options.dry_run)


def run(request: ChangeRequest, report: Report) -> int:
    """Write the inventory."""
    change = request.change
    if isinstance(change, RemovalRequest):
        removal = edit.remove(change.folder, change.names)
        if not request.dry_run:
            removal.apply()
        changes.report_edit(report, removal, dry_run=request.dry_run)
        return 0
    planned = plan.plan(change)
    changes.report_plan(report, planned)
    if not request.dry_run:
        plan.apply(planned)
    changes.report_files(report, planned, dry_run=request.dry_run)
    return 0
