"""picluster prepare: write the identity of a node to a card or image that another tool wrote."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from picluster.cards import prepare
from picluster.cards.bootfiles import BootFiles
from picluster.cards.filetarget import ExistingFile
from picluster.commands import add_command, changes, exit_cards, identity, nodes
from picluster.commands import path as a_path
from picluster.commands.places import add_devices, parse_devices
from picluster.devices import host, safety
from picluster.errors import PiclusterError
from picluster.firstboot import generations
from picluster.inventory import plan

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from picluster.cards.target import Target
    from picluster.commands import Subparsers
    from picluster.commands.identity import Identity, IdentityRequest
    from picluster.console.report import Report
    from picluster.firstboot.generations import Recognised


@dataclass(frozen=True)
class PrepareRequest:
    """What the options say; the nodes are in the order of their places: image files, devices, folders."""

    nodes: plan.InventoryRequest
    identity: IdentityRequest
    image_files: Sequence[Path]
    devices: Sequence[str]
    forced: Sequence[str]
    folders: Sequence[Path]
    dry_run: bool


def add_to(commands: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "prepare",
        "write the identity of each node to a card, image file or mounted boot partition of another tool",
        "Give as many places as nodes; they are paired in order.",
    )
    nodes.add_nodes(parser, key="; required")
    identity.add_identity(parser)
    places = parser.add_argument_group("places")
    add_devices(places, "card reader with a card, or several separated by commas; can be repeated")
    places.add_argument(
        "--image-file", type=a_path, action="append", default=[], metavar="FILE", help="unpacked image; can be repeated"
    )
    places.add_argument(
        "--boot-folder",
        type=a_path,
        action="append",
        default=[],
        metavar="DIR",
        help="mounted boot partition; can be repeated",
    )
    parser.set_defaults(parse=parse, run=run)


def parse(options: argparse.Namespace) -> PrepareRequest:
    """Return the request of the command."""
    devices, forced = parse_devices(options)
    request = PrepareRequest(
        nodes=nodes.parse_nodes(options),
        identity=identity.parse_identity(options),
        image_files=options.image_file,
        devices=devices,
        forced=forced,
        folders=options.boot_folder,
        dry_run=options.dry_run,
    )
    expected, given = len(request.nodes.names), len(request.image_files) + len(devices) + len(request.folders)
    if safety.AUTO in devices:
        raise PiclusterError("--device auto selects empty cards, but prepare needs cards with a system: name them")
    if given != expected:
        count = "1 node" if expected == 1 else f"{expected} nodes"
        places = "no place is given" if not given else f"{given} place{'s are' if given > 1 else ' is'} given"
        raise PiclusterError(f"{count}, but {places}; pass --device, --image-file or --boot-folder once for each node")
    return request


@dataclass(frozen=True)
class _BootPartition:
    """The boot partition at one place.

    ``write`` may raise PiclusterError or OSError; ``room`` checks that there is room for the files, without writing.
    """

    title: str
    boot: BootFiles
    write: Callable[[Mapping[str, bytes]], None]
    room: Callable[[Mapping[str, bytes]], object]


@dataclass(frozen=True)
class _Preparation:
    """A node, its boot partition and the system on it."""

    name: str
    place: _BootPartition
    system: Recognised


def run(request: PrepareRequest, report: Report) -> int:
    """Prepare the places and write the inventory."""
    checked = identity.check(request.identity)
    names = request.nodes.names
    openers = _openers(request)
    _refuse_twice([*request.image_files, *request.folders])
    with ExitStack() as stack:
        places = [_on_target(stack.enter_context(opener())) for opener in openers]
        places += [_in_folder(folder) for folder in request.folders]
        systems = [generations.recognise(place.boot, place.title, checked.firstboot) for place in places]
        client_id = _same_client_id(systems)
        planned = plan.plan(dataclasses.replace(request.nodes, guessed_arch=systems[0].arch, client_id=client_id))
        jobs = [_Preparation(*job) for job in zip(names, places, systems, strict=True)]
        for job in jobs:
            job.place.room(checked.files(job.system, job.name, planned.user))
        changes.report_plan(report, planned)
        if not request.dry_run:
            checked = identity.complete(checked)
            plan.apply(planned)
        changes.report_files(report, planned, dry_run=request.dry_run)
        good = {job.name for job in jobs if _prepare(job, checked, planned.user, report, dry_run=request.dry_run)}
    if not request.dry_run:
        changes.forget_host_keys(report, planned, good)
    return exit_cards(len(names) - len(good))


def _prepare(job: _Preparation, identity: Identity, user: str, report: Report, *, dry_run: bool) -> bool:
    """Write to one place and report the result; return whether it is good."""
    files = identity.files(job.system, job.name, user)
    error = "" if dry_run else _write(job.place, files)
    state = "failed" if error else "planned" if dry_run else "done"
    verb = {"failed": "failed on", "planned": "would prepare", "done": "prepared"}[state]
    text = f"{job.name}: {verb} {job.place.title} ({job.system.adapter.title}; {error or ', '.join(files)})"
    report.say("card", text, name=job.name, place=job.place.title, state=state, detail=error)
    return not error


def _refuse_twice(paths: Sequence[Path]) -> None:
    """Refuse a place that two nodes would share under any names; devices are compared where they are chosen."""
    seen: dict[tuple[int, int], Path] = {}
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            continue  # opening it reports a better reason
        first = seen.setdefault((found.st_dev, found.st_ino), path)
        if first is not path:
            raise PiclusterError(f"{path} is {first}, which was named already: give each node a place of its own")


def _openers(request: PrepareRequest) -> list[Callable[[], Target]]:
    for path in request.image_files:
        if not path.is_file():
            raise PiclusterError(f"--image-file {path} does not exist: name an unpacked image")
    openers: list[Callable[[], Target]] = [partial(ExistingFile, path) for path in request.image_files]
    if request.devices:
        machine = host.platform()
        selection = safety.choose(request.devices, machine.devices(), forced=request.forced)
        forced = selection.forced
        openers += [partial(machine.open, one, unmount=one.path in forced) for one in selection.devices]
    return openers


def _on_target(target: Target) -> _BootPartition:
    card = prepare.ExistingCard(target)
    return _BootPartition(target.name, card.boot_files, lambda files: card.write(card.patches(files)), card.patches)


def _in_folder(folder: Path) -> _BootPartition:
    write = partial(prepare.write_to_folder, folder)
    # The file system of a mounted partition decides, file by file, whether there is room.
    return _BootPartition(str(folder), BootFiles.of_folder(folder), write, lambda _: None)


def _same_client_id(systems: Sequence[Recognised]) -> bool:
    kinds = {system.adapter.client_id for system in systems}
    if len(kinds) > 1:
        raise PiclusterError("some of these systems send a DHCP client-id and some cannot: prepare them separately")
    return kinds.pop()


def _write(place: _BootPartition, files: Mapping[str, bytes]) -> str:
    """Write to one place; return why it failed."""
    try:
        place.write(files)
    except PiclusterError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    return ""
