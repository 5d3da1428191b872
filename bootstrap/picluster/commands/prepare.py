"""picluster prepare: the identity for cards and images that another tool wrote."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from picluster.cards import prepare
from picluster.cards.bootfiles import BootFiles
from picluster.cards.filetarget import ExistingFile
from picluster.commands import exit_cards, planning
from picluster.commands import identity as identities
from picluster.commands import path as a_path
from picluster.commands.places import named
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
    from picluster.console.report import Report
    from picluster.devices import Device, Platform
    from picluster.firstboot.generations import Recognised


def add_to(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "prepare",
        help="give a card, an image file or a mounted boot folder its node's identity",
        description="Give what another tool wrote its node's identity: as many places as --name has nodes, in order.",
    )
    planning.add_nodes(parser)
    identities.add_identity(parser)
    places = parser.add_argument_group("places")
    places.add_argument("--device", action="append", default=[], metavar="PATH", help="a card in a reader")
    places.add_argument("--force-device", action="append", default=[], metavar="PATH", help="as with picluster burn")
    places.add_argument(
        "--image-file", type=a_path, action="append", default=[], metavar="FILE", help="an unpacked image of a card"
    )
    places.add_argument(
        "--boot-folder",
        type=a_path,
        action="append",
        default=[],
        metavar="DIR",
        help="a card's boot partition, mounted",
    )
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class _Place:
    """One place, looked at.

    Attributes:
        title: For people.
        boot: What is on its boot partition.
        write: Writes files there; PiclusterError or OSError if it fails.
        room: Checks that they find room, without writing.
    """

    title: str
    boot: BootFiles
    write: Callable[[Mapping[str, bytes]], None]
    room: Callable[[Mapping[str, bytes]], object]


def run(options: argparse.Namespace, report: Report) -> int:
    """Prepare the places and write the inventory."""
    identity = identities.read_identity(options, report)
    nodes = planning.check_names(options)
    openers = _openers(options)
    given = len(openers) + len(options.boot_folder)
    if given != len(nodes):
        raise PiclusterError(
            f"--name has {len(nodes)} nodes but there are {given} places: "
            "give as many of --device, --image-file and --boot-folder"
        )
    _refuse_twice([*options.image_file, *options.boot_folder])
    with ExitStack() as stack:
        places = [_on_target(stack.enter_context(opener())) for opener in openers]
        places += [_in_folder(folder) for folder in options.boot_folder]
        systems = [generations.recognise(place.boot, place.title, identity.firstboot) for place in places]
        _, planned = planning.make_plan(options, systems[0].arch, client_id=_same_client_id(systems))
        cards = [_Card(*card) for card in zip(nodes, places, systems, strict=True)]
        for card in cards:
            card.place.room(card.files(identity, planned.user))
        planning.say_plan(report, planned)
        if not options.dry_run:
            identity = identities.complete(identity)
            plan.apply(planned)
        planning.say_inventory(report, planned, dry_run=options.dry_run)
        good = {card.name for card in cards if _prepare(card, identity, planned.user, report, dry_run=options.dry_run)}
    if not options.dry_run:
        planning.forget_host_keys(report, planned, good)
    return exit_cards(len(nodes) - len(good))


@dataclass(frozen=True)
class _Card:
    """One node's place and the system on it."""

    name: str
    place: _Place
    system: Recognised

    def files(self, identity: identities.Identity, user: str) -> Mapping[str, bytes]:
        """Return what is written to it."""
        return identity.files(self.system, self.name, user)


def _prepare(card: _Card, identity: identities.Identity, user: str, report: Report, *, dry_run: bool) -> bool:
    """Write to one place and say how it went; return whether it is good."""
    files = card.files(identity, user)
    error = "" if dry_run else _write(card.place, files)
    state = "failed" if error else "planned" if dry_run else "done"
    verb = {"failed": "failed on", "planned": "would prepare", "done": "prepared"}[state]
    text = f"{card.name}: {verb} {card.place.title} ({card.system.adapter.title}; {error or ', '.join(files)})"
    report.say("card", text, name=card.name, place=card.place.title, state=state, detail=error)
    return not error


def _refuse_twice(paths: Sequence[Path]) -> None:
    """Refuse a place that two nodes would share, by whatever names; devices are compared where they are chosen."""
    seen: dict[tuple[int, int], Path] = {}
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            continue  # a better sentence follows where it is opened
        first = seen.setdefault((found.st_dev, found.st_ino), path)
        if first is not path:
            raise PiclusterError(f"{path} is {first}, which was named already: each node needs a place of its own")


def _openers(options: argparse.Namespace) -> list[Callable[[], Target]]:
    openers: list[Callable[[], Target]] = [_file_opener(path) for path in options.image_file]
    if options.device:
        machine = host.platform()
        selection = safety.choose(
            named(options.device, "--device"), machine.devices(), forced=named(options.force_device, "--force-device")
        )
        if selection.auto:
            raise PiclusterError("--device auto takes empty cards, and prepare ones that hold a system: name them")
        openers += [_device_opener(machine, device, selection) for device in selection.devices]
    elif options.force_device:
        raise PiclusterError("--force-device lifts a limit for a device of --device: give --device too")
    return openers


def _file_opener(path: Path) -> Callable[[], Target]:
    if not path.is_file():
        raise PiclusterError(f"there is no image file {path}")
    return lambda: ExistingFile(path)


def _device_opener(machine: Platform, device: Device, selection: safety.Selection) -> Callable[[], Target]:
    return lambda: machine.open(device, unmount=device.path in selection.forced)


def _on_target(target: Target) -> _Place:
    card = prepare.Card(target)
    return _Place(target.name, card.boot_files, lambda files: card.write(card.patches(files)), card.patches)


def _in_folder(folder: Path) -> _Place:
    def write(files: Mapping[str, bytes]) -> None:
        prepare.write_to_folder(folder, files)

    # How much room a mounted partition has for small files is its file system's to say, file by file.
    return _Place(str(folder), BootFiles.of_folder(folder), write, lambda _: None)


def _same_client_id(systems: Sequence[Recognised]) -> bool:
    kinds = {system.adapter.client_id for system in systems}
    if len(kinds) > 1:
        raise PiclusterError("some of these systems send a DHCP client-id and some cannot: prepare them apart")
    return kinds.pop()


def _write(place: _Place, files: Mapping[str, bytes]) -> str:
    """Write to one place; return why it failed."""
    try:
        place.write(files)
    except PiclusterError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    return ""
