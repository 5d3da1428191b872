"""Options for where the cards go: to image files, or to card readers, round by round."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from filelock import FileLock, Timeout

from picluster import cache, devices
from picluster.cards.filetarget import FileTarget
from picluster.commands import can_ask
from picluster.commands import path as a_path
from picluster.devices import host, rounds, safety
from picluster.errors import PiclusterError
from picluster.files import check_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from picluster.cards.overlay import Patch
    from picluster.cards.target import Target
    from picluster.commands import Options
    from picluster.console.report import Report
    from picluster.devices import Device, Platform

DEFAULT_FOLDER = Path("cards")


@dataclass(frozen=True)
class Left:
    """Where the cards go that were not burnt.

    No option names a place that holds a good card; the hint is what the user must do first, or empty.
    """

    options: tuple[tuple[str, str], ...]
    hint: str = ""


@dataclass(frozen=True)
class Place:
    """Where the card of one node goes.

    The title is the file or device, for people; the capacity is in bytes, None for a file.
    """

    name: str
    title: str
    open: Callable[[], Target]
    capacity: int | None = None


class Places(Protocol):
    """All places of one burn.

    ``sparse`` says that they are new files; the summary is for the last line of the report.
    """

    sparse: bool
    summary: str

    def planned(self) -> list[str]:
        """Return for each node where its card will go."""
        ...

    def announce(self, report: Report, *, dry_run: bool) -> None:
        """Report what would be overwritten, and what else the user may not expect."""
        ...

    def confirm(self, report: Report) -> None:
        """Ask the user before anything is overwritten, and check that the places can be written to."""
        ...

    def rounds(self, report: Report) -> Iterator[Sequence[Place]]:
        """Yield the places that are written in parallel; wait between two rounds until the cards are swapped."""
        ...

    def burnt(self, path: str, patches: Sequence[Patch]) -> None:
        """Record that the card with this title is good, and what only this card contains."""
        ...

    def left(self) -> Left:
        """Return where a further command burns the remaining cards without touching a good one."""
        ...


@dataclass(frozen=True)
class PlacesRequest:
    """What the options of add_places() say.

    Without devices the cards become image files. ``yes`` allows to overwrite what is there unasked.
    """

    devices: Sequence[str]
    forced: Sequence[str]
    output: Path | None
    yes: bool


def add_devices(parser: Options, about: str) -> None:
    """Add --device, with its help, and --force-device."""
    parser.add_argument("--device", action="append", default=[], metavar="PATH", help=about)
    parser.add_argument(
        "--force-device",
        action="append",
        default=[],
        metavar="PATH",
        help="write to this device although it is mounted, not removable or larger than 256 GB; never the system disk",
    )


def add_places(parser: Options) -> None:
    """Add the options."""
    add_devices(
        parser,
        "card reader to burn in, or several separated by commas; can be repeated; auto selects all readers with an "
        "empty card; with fewer readers than nodes, burn asks you to swap cards (see picluster devices)",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="overwrite devices and image files without asking")
    parser.add_argument(
        "-o",
        "--output",
        type=a_path,
        metavar="DIR",
        help=f"write one image file for each node to this directory (default without --device: {DEFAULT_FOLDER})",
    )


def parse_places(options: argparse.Namespace) -> PlacesRequest:
    """Return what the options of add_places() say, if they do not contradict each other."""
    readers, forced = parse_devices(options)
    if readers and options.output is not None:
        raise PiclusterError("-o and --device exclude each other: -o writes image files, --device cards; give one")
    # Who replaces the card of a node means its image file, too, but not whatever a reader holds.
    return PlacesRequest(readers, forced, options.output, options.yes or (options.replace and not readers))


def parse_devices(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Return the devices of --device and --force-device; either can be repeated or name several with commas.

    Refuses an empty name, such as that of an unset shell variable, and --force-device alone.
    """
    given = _named(options.device, "--device"), _named(options.force_device, "--force-device")
    if given[1] and not given[0]:
        raise PiclusterError("--force-device is given without --device: give --device with the same name, too")
    return given


def _named(given: Sequence[str], option: str) -> list[str]:
    found = [path for value in given for path in value.split(",")]
    if not all(path.strip() for path in found):
        raise PiclusterError(f"{option} was given an empty name: name a disk, such as /dev/sdb")
    return found


def choose(request: PlacesRequest, names: Sequence[str], image: Path, need: int) -> Places:
    """Check where the cards go: each place must hold ``need`` bytes, and none may be the image itself."""
    if not request.devices:
        return _Files(request.output, names, image, yes=request.yes)
    machine = host.platform()
    selection = safety.choose(request.devices, machine.devices(), forced=request.forced, need=need)
    # As they were typed: a link of /dev/disk/by-id still names the same reader. With auto there is one name for all.
    typed = {device.path: name for device, name in zip(selection.devices, request.devices, strict=False)}
    return _Readers(machine, selection, list(names), need, yes=request.yes, typed={} if selection.auto else typed)


class _Files:
    """Image files in a directory, all in one round."""

    sparse = True

    def __init__(self, output: Path | None, names: Sequence[str], image: Path, *, yes: bool) -> None:
        folder = output or DEFAULT_FOLDER
        self._unasked = output is None
        check_folder(folder, "-o")
        self.summary = f" in {folder}"
        self._folder = folder
        self._yes = yes
        self._paths = {name: folder / f"{name}.img" for name in names}
        self._there: list[Path] = []
        for path in self._paths.values():
            if not path.exists():
                continue
            if path.samefile(image):
                raise PiclusterError(f"{path} is the stock image itself: choose another directory with -o")
            if not path.is_file():
                raise PiclusterError(f"{path} exists and is not a file: choose another directory with -o")
            self._there.append(path)

    def planned(self) -> list[str]:
        return [str(path) for path in self._paths.values()]

    def announce(self, report: Report, *, dry_run: bool) -> None:
        if self._unasked:
            report.note(
                f"without --device the cards become image files in {self._folder}; --device auto burns real cards"
            )
        if self._there:
            would = "would be" if dry_run else "will be"
            report.note(f"{', '.join(map(str, self._there))} {would} overwritten")

    def confirm(self, report: Report) -> None:
        """Check that files can be written; the burn creates the directory, when nothing refuses it any more."""
        if self._there and not self._yes:
            _ask(report, f"{self._there[0]} exists, and an image file may be the only copy of a card")
        self._lock()
        check_folder(self._folder, "-o")

    def _lock(self) -> None:
        """Lock the directory against a second burn until this process ends."""
        name = hashlib.sha256(os.fsencode(self._folder.absolute())).hexdigest()[:16]
        path = cache.root() / "locks" / name
        self._locked = FileLock(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._locked.acquire(timeout=0)
        except Timeout as error:
            raise PiclusterError(
                f"another burn writes to {self._folder}: wait until it ends, or choose another directory with -o"
            ) from error
        except OSError as error:
            raise PiclusterError(
                f"the cache {cache.root()} cannot be written to: {error.strerror or error}; "
                "set PICLUSTER_CACHE to a directory that can be"
            ) from error

    def rounds(self, report: Report) -> Iterator[Sequence[Place]]:  # noqa: ARG002 - nothing is to be swapped
        self._folder.mkdir(parents=True, exist_ok=True)
        yield [Place(name, str(path), partial(FileTarget, path)) for name, path in self._paths.items()]

    def burnt(self, path: str, patches: Sequence[Patch]) -> None:
        """Do nothing: each node has a file of its own."""

    def left(self) -> Left:
        """Return the directory, which is enough: each node has a file of its own."""
        return Left(() if self._unasked else (("output", str(self._folder)),))


def _ask(report: Report, why: str) -> None:
    """Ask whether what was announced may be overwritten."""
    if not can_ask(as_json=report.json):
        raise PiclusterError(f"{why}: there is no terminal to confirm on; pass --yes to proceed")
    report.ask("Overwrite them? Type yes: ")
    if sys.stdin.readline().strip().lower() != "yes":
        raise PiclusterError("not confirmed, nothing was changed")


@dataclass
class _Readers:
    """Cards in readers; ``typed`` is what the user typed for each reader, by its path."""

    machine: Platform
    selection: safety.Selection
    names: list[str]
    need: int
    yes: bool
    typed: Mapping[str, str]
    sparse: bool = False
    summary: str = ""
    _burnt: list[Sequence[Patch]] = field(default_factory=list)
    # Readers whose cards the user allowed to overwrite and that hold no good card, by path.
    _open: dict[str, Device] = field(init=False)
    _seen: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._open = {device.path: device for device in self.selection.devices[: len(self.names)]}
        self._seen = set(self._open)

    def planned(self) -> list[str]:
        readers, cards = self.selection.devices, range(len(self.names))
        return [f"{readers[card % len(readers)].path}, round {card // len(readers) + 1}" for card in cards]

    def announce(self, report: Report, *, dry_run: bool) -> None:
        for left in self.selection.left_out:
            report.say(
                "note", f"left out: {left.device.path}, {left.reason}", text=left.reason, device=left.device.path
            )
        used = self.selection.devices[: len(self.names)]
        would = "would be overwritten" if dry_run else "will be overwritten"
        for device in used:
            holds = f"holds {device.contents}" if device.contents else "empty"
            description = f"{device.path}: {devices.described(device)}, {holds}"
            report.say(
                "device",
                f"{would}: {description}",
                path=device.path,
                description=description,
                size=device.size,
                model=device.model,
                serial=device.serial,
                contents=device.contents,
            )
        rounds_needed = -(-len(self.names) // len(used))
        if rounds_needed > 1:
            readers = "1 reader" if len(used) == 1 else f"{len(used)} readers"
            text = f"{len(self.names)} cards in {readers}: {rounds_needed} rounds"
            if not self.selection.auto:
                text += "; every card that is inserted later is overwritten too, whatever it holds"
            report.say("note", text, text=text)

    def confirm(self, report: Report) -> None:
        if self.yes:
            return
        _ask(report, "--device overwrites cards")

    def rounds(self, report: Report) -> Iterator[Sequence[Place]]:
        def say(name: str, text: str) -> None:
            report.say("swap", text or f"{name}: a new card is inserted", name=name, text=text)

        swap = rounds.Swap(self.selection, need=self.need, is_ours=self._is_ours)
        for slots in rounds.rounds(self.names, swap, rounds.Watch(self.machine.devices, say)):
            self._enter([one.device for one in slots])
            yield [self._place(one.name, one.device) for one in slots]

    def _place(self, name: str, device: Device) -> Place:
        unmount = device.path in self.selection.forced
        return Place(name, device.path, partial(self.machine.open, device, unmount=unmount), device.size)

    def _enter(self, devices: Sequence[Device]) -> None:
        """Record which readers hold cards that are about to be burnt."""
        new = {device.path: device for device in devices}
        # A reader that returns under a new path has left its old one, which may be that of another disk by now.
        moved = {(one.model, one.serial) for path, one in new.items() if path not in self._seen and one.serial}
        self._open = {path: one for path, one in self._open.items() if (one.model, one.serial) not in moved} | new
        self._seen.update(new)

    def burnt(self, path: str, patches: Sequence[Patch]) -> None:
        self._burnt.append(patches)
        self._open.pop(path, None)

    def left(self) -> Left:
        """Return the readers without a good card, or auto if there is none: it accepts only empty cards."""
        if self.selection.auto:
            return Left((("device", safety.AUTO),))
        if not self._open:
            return Left((("device", safety.AUTO),), "all readers hold good cards: insert empty ones")
        named = [(path, self.typed.get(path, path)) for path in self._open]
        forced = [name for path, name in named if path in self.selection.forced]
        options = [("device", ",".join(name for _, name in named))]
        if forced:
            options.append(("force_device", ",".join(forced)))
        return Left(tuple(options))

    def _is_ours(self, device: Device) -> bool:
        # Together they contain the instance id of the burn, so no other card has them all.
        return any(all(self._holds(device, patch) for patch in patches) for patches in self._burnt)

    def _holds(self, device: Device, patch: Patch) -> bool:
        return self.machine.peek(device, patch.offset, len(patch.new)) == patch.new
