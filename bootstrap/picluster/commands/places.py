"""Where cards go: into image files, or onto the disks that were named or found, round by round."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from filelock import FileLock, Timeout

from picluster import cache, devices
from picluster.cards.filetarget import FileTarget
from picluster.commands import path as a_path
from picluster.commands import planning, somebody_to_ask
from picluster.devices import host, rounds, safety
from picluster.errors import PiclusterError

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
    """Where the cards go that are still to be burnt.

    Attributes:
        options: Options of picluster burn and their values; none of them names a place that holds a good card.
        hint: What the user is to do first; may be empty.
    """

    options: tuple[tuple[str, str], ...]
    hint: str = ""


@dataclass(frozen=True)
class Place:
    """Where one node's card goes.

    Attributes:
        name: The node.
        title: The file or device, for people.
        open: Opens it.
        capacity: Bytes it holds, None for a file.
    """

    name: str
    title: str
    open: Callable[[], Target]
    capacity: int | None = None


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

    def tell(self, report: Report, *, dry_run: bool) -> None:
        """Say what would be lost, and what else the user may not expect."""
        ...

    def confirm(self, report: Report) -> None:
        """Ask the user, if something would be lost, and see to it that all is ready to be written to.

        Raises:
            PiclusterError: if it may not be lost, or cannot be written to.
        """
        ...

    def rounds(self, report: Report) -> Iterator[Sequence[Place]]:
        """Yield the places that are written side by side; between two rounds wait for the cards to be swapped."""
        ...

    def burnt(self, path: str, patches: Sequence[Patch]) -> None:
        """Note that the card of this title is good, and what it now holds and no other does."""
        ...

    def left(self) -> Left:
        """Return where a further command burns the cards that are not good, without touching a good one."""
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
        type=a_path,
        metavar="DIR",
        help=f"write image files there instead of cards, one a node (default without --device: {DEFAULT_FOLDER})",
    )


def named(given: Sequence[str], option: str) -> list[str]:
    """Return the devices that an option names, which may be repeated or hold several with commas.

    Raises:
        PiclusterError: for an empty name, such as an unset shell variable's.
    """
    found = [path for value in given for path in value.split(",")]
    if not all(path.strip() for path in found):
        raise PiclusterError(f"{option} was given an empty name: name a disk, such as /dev/sdb")
    return found


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
    wanted = named(options.device, "--device")
    if not wanted:
        if options.force_device:
            raise PiclusterError("--force-device lifts a limit for a device of --device: give --device too")
        return _Files(options.output, names, image)
    if options.output is not None:
        raise PiclusterError("-o writes image files and --device cards: give one of them")
    machine = host.platform()
    selection = safety.choose(
        wanted, machine.devices(), forced=named(options.force_device, "--force-device"), need=need
    )
    # As they were typed: a link of /dev/disk/by-id goes on naming the same reader. With auto there is one name for all.
    typed = {device.path: name for device, name in zip(selection.devices, wanted, strict=False)}
    return _Readers(machine, selection, list(names), need, yes=options.yes, typed={} if selection.auto else typed)


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

    def tell(self, report: Report, *, dry_run: bool) -> None:  # noqa: ARG002 - it is the same
        if self._unasked:
            report.note(
                f"no --device was named, so the cards become image files in {self._folder}; --device auto burns cards"
            )

    def confirm(self, report: Report) -> None:  # noqa: ARG002 - nothing is asked
        """Ask nothing: an image file of the same name is replaced, as by any other tool that writes files."""
        try:
            self._lock()
            self._folder.mkdir(parents=True, exist_ok=True)
            # Whether a file can be made there, no permission bits tell.
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".picluster-"):
                pass
        except OSError as error:
            raise PiclusterError(
                f"image files cannot be written to {self._folder} ({error.strerror or error}): "
                "choose another directory with -o"
            ) from error

    def _lock(self) -> None:
        """Keep a second burn out of the folder; the lock goes with this process."""
        name = hashlib.sha256(os.fsencode(self._folder.absolute())).hexdigest()[:16]
        path = cache.root() / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._locked = FileLock(path)
        try:
            self._locked.acquire(timeout=0)
        except Timeout as error:
            raise PiclusterError(f"another burn writes to {self._folder}: wait for it, or give another -o") from error

    def rounds(self, report: Report) -> Iterator[Sequence[Place]]:  # noqa: ARG002 - nothing is to be swapped
        yield [Place(name, str(path), _opener(FileTarget, path)) for name, path in self._paths.items()]

    def burnt(self, path: str, patches: Sequence[Patch]) -> None:
        """Files need no telling apart."""

    def left(self) -> Left:
        """Each node has a file of its own, so the folder is enough."""
        return Left(() if self._unasked else (("output", str(self._folder)),))


def _opener(kind: Callable[[Path], Target], path: Path) -> Callable[[], Target]:
    return lambda: kind(path)


@dataclass
class _Readers:
    """Cards in readers.

    Attributes:
        typed: What the user called each reader, by its path.
    """

    machine: Platform
    selection: safety.Selection
    names: list[str]
    need: int
    yes: bool
    typed: Mapping[str, str]
    sparse: bool = False
    summary: str = ""
    _burnt: list[Sequence[Patch]] = field(default_factory=list)
    # The readers whose cards may be overwritten, as the user confirmed, and are not good: by path.
    _open: dict[str, Device] = field(init=False)
    _seen: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._open = {device.path: device for device in self.selection.devices[: len(self.names)]}
        self._seen = set(self._open)

    def planned(self) -> list[str]:
        readers = self.selection.devices
        return [
            f"{readers[number % len(readers)].path}, round {number // len(readers) + 1}"
            for number in range(len(self.names))
        ]

    def tell(self, report: Report, *, dry_run: bool) -> None:
        for left in self.selection.left_out:
            report.say(
                "note", f"left out: {left.device.path}, {left.reason}", text=left.reason, device=left.device.path
            )
        used = self.selection.devices[: len(self.names)]
        would = "would be overwritten" if dry_run else "will be overwritten"
        for device in used:
            holds = f"holds {device.contents}" if device.contents else "empty"
            said = f"{device.path}: {devices.described(device)}, {holds}"
            report.say(
                "device",
                f"{would}: {said}",
                path=device.path,
                description=said,
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
                text += "; every card put in later is overwritten, too, whatever it holds"
            report.say("note", text, text=text)

    def confirm(self, report: Report) -> None:
        if self.yes:
            return
        if not somebody_to_ask(report):
            raise PiclusterError("--device overwrites cards and nobody is there to ask: give --yes if it may")
        report.ask("Overwrite them? Type yes: ")
        if sys.stdin.readline().strip().lower() != "yes":
            raise PiclusterError("not confirmed, nothing was changed")

    def rounds(self, report: Report) -> Iterator[Sequence[Place]]:
        def say(name: str, text: str) -> None:
            report.say("swap", text or f"{name}: a new card is in", name=name, text=text)

        swap = rounds.Swap(self.selection, need=self.need, is_ours=self._is_ours)
        for slots in rounds.rounds(self.names, swap, rounds.Watch(self.machine.devices, say)):
            self._enter([one.device for one in slots])
            yield [Place(one.name, one.device.path, self._opener(one.device), one.device.size) for one in slots]

    def _opener(self, device: Device) -> Callable[[], Target]:
        unmount = device.path in self.selection.forced
        return lambda: self.machine.open(device, unmount=unmount)

    def _enter(self, devices: Sequence[Device]) -> None:
        """Note which readers have got cards that are to be burnt."""
        new = {device.path: device for device in devices}
        # A reader that came back under a new path has left its old one, which may be another disk's by now.
        moved = {(one.model, one.serial) for path, one in new.items() if path not in self._seen and one.serial}
        self._open = {path: one for path, one in self._open.items() if (one.model, one.serial) not in moved} | new
        self._seen.update(new)

    def burnt(self, path: str, patches: Sequence[Patch]) -> None:
        self._burnt.append(patches)
        self._open.pop(path, None)

    def left(self) -> Left:
        """Return the readers without a good card, and auto if there is none: it takes blank cards alone."""
        if self.selection.auto:
            return Left((("device", safety.AUTO),))
        if not self._open:
            return Left((("device", safety.AUTO),), "all readers hold good cards, so put blank ones in")
        named = [(path, self.typed.get(path, path)) for path in self._open]
        forced = [name for path, name in named if path in self.selection.forced]
        options = [("device", ",".join(name for _, name in named))]
        if forced:
            options.append(("force_device", ",".join(forced)))
        return Left(tuple(options))

    def _is_ours(self, device: Device) -> bool:
        # Together they hold the burn's own instance, so no other card has them all.
        return any(all(self._holds(device, patch) for patch in patches) for patches in self._burnt)

    def _holds(self, device: Device, patch: Patch) -> bool:
        return self.machine.peek(device, patch.offset, len(patch.new)) == patch.new
