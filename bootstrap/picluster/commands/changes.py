"""Report what changes in an inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from picluster.inventory import plan

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from picluster.console.report import Report
    from picluster.inventory.edit import Edit


def report_plan(report: Report, planned: plan.Plan) -> None:
    """Report the network of the nodes and the notes of the plan."""
    net = planned.net
    dns = ", ".join(map(str, net.dns))
    report.say(
        "network",
        f"network {net.network}, gateway {net.gateway}, name server {dns} (--prefix, --gateway and --dns change them)",
        network=str(net.network),
        gateway=str(net.gateway),
        dns=[str(server) for server in net.dns],
    )
    for note in planned.notes:
        report.note(note)


def report_files(report: Report, planned: plan.Plan, *, dry_run: bool) -> None:
    """Report which files of the inventory were written, or would be."""
    secret = [planned.folder / plan.SECRETS] if planned.make_secret else []
    _report_files(report, planned.folder, [*planned.writes, *secret], dry_run=dry_run)


def report_edit(report: Report, edit: Edit, *, dry_run: bool) -> None:
    """Report the notes of an edit, and which files of the inventory were written, or would be."""
    for note in edit.notes:
        report.note(note)
    _report_files(report, edit.folder, list(edit.writes), dry_run=dry_run)


def forget_host_keys(report: Report, planned: plan.Plan, burnt: Collection[str]) -> None:
    """Remove the recorded host keys of nodes with a new card, and report it."""
    if burnt and plan.forget_host_keys(planned.folder, burnt):
        report.note("the old host keys of the burnt nodes were removed from known_hosts; new cards create new ones")


def _report_files(report: Report, folder: Path, files: Sequence[Path], *, dry_run: bool) -> None:
    paths = [str(path) for path in files]
    verb = "would write" if dry_run else "wrote"
    text = f"{verb} {', '.join(paths)}" if paths else f"the inventory {folder} is up to date"
    report.say("inventory", text, folder=str(folder), files=paths, dry_run=dry_run)
