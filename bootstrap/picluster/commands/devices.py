"""picluster devices: list the disks and whether burn accepts them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from picluster.commands import add_command, add_json
from picluster.devices import host, human_size, safety

if TYPE_CHECKING:
    from picluster.commands import Subparsers
    from picluster.console.report import Report
    from picluster.devices import Device

_HEAD = ("DEVICE", "SIZE", "MODEL", "SERIAL", "CONTENTS", "TAKEN BY")


def add_to(commands: Subparsers) -> None:
    """Declare the command."""
    about = "list the disks of this machine, and which option of picluster burn accepts each"
    parser = add_command(commands, "devices", about)
    add_json(parser)
    parser.set_defaults(parse=lambda _: None, run=run)


def run(_request: None, report: Report) -> int:
    """List the disks; none is opened for writing."""
    devices = [device for device in host.platform().devices() if not device.aside]
    if not report.json:
        report.table(_HEAD, map(_row, devices))
    for device in devices if report.json else ():
        taken = {"auto": not safety.auto_refusal(device), "refused": safety.refusal(device)}
        report.say("device", "", **dataclasses.asdict(device), **taken)
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
