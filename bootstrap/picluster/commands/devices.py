"""picluster devices: which disks there are, and whether burn would take them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from picluster.commands import add_json
from picluster.devices import host, human_size, safety

if TYPE_CHECKING:
    import argparse

    from picluster.commands import Subparsers
    from picluster.console.report import Report
    from picluster.devices import Device

_HEAD = ("DEVICE", "SIZE", "MODEL", "SERIAL", "CONTENTS", "TAKEN BY")


def add_to(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser("devices", help="list the disks, and whether burn would take them")
    add_json(parser)
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace, report: Report) -> int:
    """List the disks; nothing is opened for writing."""
    devices = host.platform().devices()
    rows = [_HEAD, *(_row(device) for device in devices)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    if not report.json:
        report.say("", _line(_HEAD, widths))
    for device, row in zip(devices, rows[1:], strict=True):
        taken = {"auto": not safety.auto_refusal(device), "refused": safety.refusal(device)}
        report.say("device", _line(row, widths), **dataclasses.asdict(device), **taken)
    if not devices:
        report.say("note", "no disk was found", text="no disk was found")
    return 0


def _row(device: Device) -> tuple[str, ...]:
    size = human_size(device.size) if device.size else "no card"
    return device.path, size, device.model, device.serial, device.contents, _taken(device)


def _taken(device: Device) -> str:
    if not safety.auto_refusal(device):
        return "--device auto"
    why = safety.refusal(device)
    if not why:
        return f"--device {device.path}"
    return f"nothing: {why}" if safety.refusal(device, forced=True) else f"only --force-device {device.path}: {why}"


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
