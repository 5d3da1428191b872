"""Where cards go: into image files, or onto the disks that were named or found, round by round."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from picluster import devices
from picluster.commands import planning
from picluster.devices import rounds, safety
from picluster.errors import PiclusterError
from picluster.filetarget import FileTarget

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from picluster.commands import Options
    from picluster.devices import Device, Platform
    from picluster.overlay import Patch
    from picluster.report import Report
    from picluster.target import Target

DEFAULT_FOLDER = Path("cards")


@dataclass(frozen=True)
class Place:
    """Where one node's card goes.

    Attributes:
        name: The node.
        title: The file or device, for people.
        open: Opens it.
    """

    name: str
    title: str
    open: Callable[[], Target]


class Places(Protocol):
    """All the places of one burn.

    Attributes:
        sparse: Whether they are new files.
        summary: What the closing line adds: where the cards are.
    """

    sparse: bool
    summary: str

    def planned(self) -> list[str]:
        """Say for each node where its card will go."""
        ...

    def confirm(self, report: Report) -> None:
        """Ask the user, if something would be lost.

        Raises:
            PiclusterError: if it may not be.
        """
        ...

    def rounds(self, report: Report) -> Iterator[Sequence[Place]]:
        """Yield the places that are written side by side; between two rounds wait for the cards to be swapped."""
        ...

    def burnt(self, patches: Sequence[Patch]) -> None:
        """Note what a card that is good now holds and no other does."""
        ...


def add_places(parser: Options) -> None:
    """Add the options."""
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="PATH",
        help="card reader to burn in, may be repeated; auto takes all empty cards; with fewer readers than nodes it "
        "goes on in rounds (see picluster devices)",
    )
    parser.add_argument(
        "--force-device",
        action="append",
        default=[],
        metavar="PATH",
        help="a device that is mounted, not removable or larger than 256 GB, and is meant; never the system's own",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="overwrite the devices without asking")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help=f"write image files there instead of cards, one a node (default without --device: {DEFAULT_FOLDER})",
    )


def named(given: Sequence[str]) -> list[str]:
    """Return the devices that an option names, which may be repeated or hold several with commas."""
    return [path for value in given for path in value.split(",") if path]


def choose(options: argparse.Namespace, names: Sequence[str], image: Path, need: int) -> Places:
    """Check where the cards are to go.

    Args:
        options: Of add_places().
        names: The nodes.
        image: The source, which must not be overwritten.
        need: Bytes that each place must hold.

    Raises:
        PiclusterError: for whatever is wrong.
    """
    wanted = named(options.device)
    if not wanted:
        if options.force_device:
            raise PiclusterError("--force-device lifts a limit for a device of --device: give --device too")
        return _Files(options.output, names, image)
    if options.output is not None:
        raise PiclusterError("-o writes image files and --device cards: give one of them")
    machine = devices.platform()
    selection = safety.choose(wanted, machine.devices(), forced=named(options.force_device), need=need)
    return _Readers(machine, selection, list(names), need, yes=options.yes)


class _Files:
    """Image files in a folder, all in one round."""

    sparse = True

    def __init__(self, output: Path | None, names: Sequence[str], image: Path) -> None:
        folder = output or DEFAULT_FOLDER
        self._unasked = output is None
        planning.check_folder(folder, "-o")
        self.summary = f" in {folder}"
        self._folder = folder
        self._paths = {name: folder / f"{name}.img" for name in names}
        for path in self._paths.values():
            if not path.exists():
                continue
            if path.samefile(image):
                raise PiclusterError(f"{path} is the image itself: choose another directory with -o")
            if not path.is_file():
                raise PiclusterError(f"{path} is not a file: choose another directory with -o")

    def planned(self) -> list[str]:
        return [str(path) for path in self._paths.values()]

    def confirm(self, report: Report) -> None:
        """Ask nothing: an image file of the same name is replaced, as by any other tool that writes files."""
        if self._unasked:
            text = (
                f"no --device was named, so the cards become image files in {self._folder}; --device auto burns cards"
            )
            report.say("note", f"note: {text}", text=text)

    def rounds(self, report: Report) -> Iterator[Sequence[Place]]:  # noqa: ARG002 - nothing is to be swapped
        self._folder.mkdir(parents=True, exist_ok=True)
        yield [Place(name, str(path), _opener(FileTarget, path)) for name, path in self._paths.items()]

    def burnt(self, patches: Sequence[Patch]) -> None:
        """Files need no telling apart."""


def _opener(kind: Callable[[Path], Target], path: Path) -> Callable[[], Target]:
    return lambda: kind(path)


@dataclass
class _Readers:
    """Cards in readers."""

    machine: Platform
    selection: safety.Selection
    names: list[str]
    need: int
    yes: bool
    sparse: bool = False
    summary: str = ""
    _burnt: list[Sequence[Patch]] = field(default_factory=list)

    def planned(self) -> list[str]:
        readers = self.selection.devices
        return [
            f"{readers[number % len(readers)].path}, round {number // len(readers) + 1}"
            for number in range(len(self.names))
        ]

    def confirm(self, report: Report) -> None:
        for left in self.selection.left_out:
            report.say(
                "note", f"left out: {left.device.path}, {left.reason}", text=left.reason, device=left.device.path
            )
        used = self.selection.devices[: len(self.names)]
        for device in used:
            holds = f"holds {device.contents}" if device.contents else "empty"
            said = f"{device.path}: {devices.described(device)}, {holds}"
            report.say("device", f"will be overwritten: {said}", path=device.path, description=said)
        rounds_needed = -(-len(self.names) // len(used))
        if rounds_needed > 1:
            text = f"{len(self.names)} cards in {len(used)} readers: {rounds_needed} rounds"
            report.say("note", text, text=text)
        if self.yes:
            return
        if report.json or not sys.stdin.isatty():
            raise PiclusterError("--device overwrites cards and nobody is there to ask: give --yes if it may")
        sys.stderr.write("Overwrite them? Type yes: ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() != "yes":
            raise PiclusterError("not confirmed, nothing was changed")

    def rounds(self, report: Report) -> Iterator[Sequence[Place]]:
        def say(name: str, text: str) -> None:
            report.say("swap", text or f"{name}: a new card is in", name=name, text=text)

        swap = rounds.Swap(self.selection, need=self.need, is_ours=self._is_ours)
        for slots in rounds.rounds(self.names, swap, rounds.Watch(self.machine.devices, say)):
            yield [Place(slot.name, slot.device.path, self._opener(slot.device)) for slot in slots]

    def _opener(self, device: Device) -> Callable[[], Target]:
        unmount = device.path in self.selection.forced
        return lambda: self.machine.open(device, unmount=unmount)

    def burnt(self, patches: Sequence[Patch]) -> None:
        self._burnt.append(patches)

    def _is_ours(self, device: Device) -> bool:
        # Together they hold the burn's own instance, so no other card has them all.
        return any(all(self._holds(device, patch) for patch in patches) for patches in self._burnt)

    def _holds(self, device: Device, patch: Patch) -> bool:
        return self.machine.peek(device, patch.offset, len(patch.new)) == patch.new
