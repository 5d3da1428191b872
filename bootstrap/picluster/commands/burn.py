"""picluster burn, which is cm-burn too: one card for each node, and the inventory that goes with them."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from picluster import bmap, burn, firstboot, inventory, overlay, record
from picluster.commands import exit_cards, images, planning
from picluster.commands import identity as identities
from picluster.commands import places as placing
from picluster.errors import PiclusterError
from picluster.image import guess_arch, identify, open_image

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from picluster.commands import Subparsers
    from picluster.commands.places import Place, Places
    from picluster.image import Image
    from picluster.images import ResolvedImage
    from picluster.overlay import Patch
    from picluster.report import Board, Report


def add_to(commands: Subparsers) -> None:
    """Describe the command."""
    add_options(commands.add_parser("burn", help="burn one card for each node and write the inventory"))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options of picluster burn, which is cm-burn too."""
    planning.add_nodes(parser)
    identities.add_identity(parser)
    source = parser.add_argument_group("image")
    source.add_argument(
        "--image",
        metavar="IMAGE",
        help="stock image: a file (plain, .xz, .gz, .zst or .zip), a URL, or a catalogue's name",
    )
    images.add_sha256(source)
    images.add_catalogue(source)
    source.add_argument("--bmap", type=Path, metavar="FILE", help="its block map (default: the .bmap beside the image)")
    source.add_argument("--no-bmap", action="store_true", help="write all of it, also what a block map leaves out")
    placing.add_places(parser.add_argument_group("cards"))
    parser.add_argument("--no-verify", action="store_true", help="do not read the cards back")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="burn cards of the inventory again; image, keys and the rest as they were burnt last",
    )
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class _Job:
    """All that was checked.

    Attributes:
        path: The image file.
        options: How to burn.
        patches: What each node's card holds that the image does not.
        places: Where the cards go.
        planned: What the inventory becomes.
    """

    path: Path
    options: burn.Options
    patches: Mapping[str, Sequence[Patch]]
    places: Places
    planned: inventory.Plan


def run(options: argparse.Namespace, report: Report) -> int:
    """Burn the cards and write the inventory."""
    before = _recorded(options)
    identity = identities.read_identity(options, before)
    wanted = options.image or (before and before.image)
    if not wanted:
        raise PiclusterError("no --image was given: name the stock image (picluster images list shows some)")
    planning.check_names(options)  # a slip in the range need not wait for the image to be fetched
    sha256 = options.sha256 or (before and before.sha256) or None
    resolved = images.library(options, report).resolve(wanted, sha256)
    with ExitStack() as stack:
        image = stack.enter_context(open_image(resolved.path))
        boot = image.boot_files()
        adapter = firstboot.choose(boot, image.path.name, identity.firstboot)
        guessed = guess_arch(boot)
        nodes, planned = planning.make_plan(options, guessed, client_id=adapter.client_id)
        noted = record.contents(planned.folder, _record(wanted, resolved, options, identity))
        if noted is not None:
            planned.writes[planned.folder / record.CARDS] = noted
        places = placing.choose(options, nodes, image.path, image.end)
        files = {name: identity.files(adapter, boot, name, planned.user) for name in nodes}
        job = _Job(
            image.path,
            burn.Options(_block_map(options, resolved, image), not options.no_verify, places.sparse),
            {name: overlay.patches(image.head, image.boot, files[name]) for name in nodes},
            places,
            planned,
        )
        arch = "" if options.arch else f", userland guessed as {guessed}"
        report.say(
            "image",
            f"{image.path}: {identify(boot).title}{arch}; first boot: {adapter.title}",
            path=str(image.path),
            generation=identify(boot).name,
            guessed_arch=guessed,
        )
        planning.say_plan(report, planned)
        if not options.dry_run:
            return _execute(job, image, report)
        for name, place in zip(nodes, places.planned(), strict=True):
            report.say(
                "card",
                f"would burn {name} to {place} ({', '.join(files[name])})",
                name=name,
                path=place,
                state="planned",
            )
        planning.say_inventory(report, planned, dry_run=True)
        return 0


def _recorded(options: argparse.Namespace) -> record.Record | None:
    """Return how the cluster was burnt if --replace wants that."""
    if not options.replace:
        return None
    if options.ips is not None:
        raise PiclusterError("--replace keeps the node's address, and --ips would change it: leave one of them out")
    folder = planning.folder(options)
    inventory.require_known(folder, planning.check_names(options))
    return record.read(folder) if not (options.image and options.key) else None


def _block_map(options: argparse.Namespace, resolved: ResolvedImage, image: Image) -> bmap.Bmap | None:
    path = options.bmap or resolved.bmap
    if options.no_bmap:
        if options.bmap:
            raise PiclusterError("--bmap and --no-bmap exclude each other: give one of them")
        return None
    if path is None:
        return None
    found = bmap.read(path)
    if found.image_size < image.end:
        raise PiclusterError(
            f"{path} maps {found.image_size} bytes, but {image.path.name} has {image.end} or more: "
            "it belongs to another image; name the right one with --bmap, or leave it out with --no-bmap"
        )
    return found


def _record(
    wanted: str, resolved: ResolvedImage, options: argparse.Namespace, identity: identities.Identity
) -> record.Record:
    local = Path(wanted).expanduser()
    is_file = "://" not in wanted and resolved.path.absolute().parent == local.absolute().parent
    wifi = identity.settings.wifi
    return record.Record(
        image=str(resolved.path.absolute()) if is_file else wanted,
        keys=identity.keys,
        sha256=options.sha256 or "",
        firstboot=identity.firstboot or "",
        wifi=wifi.ssid if wifi else "",
        country=identity.settings.country,
        timezone=identity.settings.timezone,
        locale=identity.settings.locale,
    )


class _Watcher(burn.Watcher):
    """Shows a burn on a board: each card, and all of them together."""

    def __init__(self, board: Board, count: int, passes: int) -> None:
        self._board = board
        self._count = count
        self._passes = passes
        self._done: dict[str, float] = {}
        self._lock = threading.Lock()

    def card(self, name: str, state: str, done: int = 0, total: int = 0, detail: str = "") -> None:
        self._board.row(name, state, done, total, detail)
        with self._lock:
            if total:
                self._done[name] = done + (total if state == "verifying" else 0)
                self._board.overall(sum(self._done.values()), total * self._count * self._passes)


def _execute(job: _Job, image: Image, report: Report) -> int:
    job.places.confirm(report)
    inventory.apply(job.planned)
    planning.say_inventory(report, job.planned, dry_run=False)
    results: list[burn.Result] = []

    def left() -> list[str]:
        burnt = {result.name for result in results if not result.error}
        return [name for name in job.patches if name not in burnt]

    try:
        for places, opened in zip(job.places.rounds(report), _readings(job.path, image), strict=False):
            results += _burn_round(job, opened, places, report)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; not burnt: {', '.join(left())}\n")
        raise
    except PiclusterError as error:
        # Something was changed by now, so this is no bad input any more.
        sys.stderr.write(f"{error}\n")
        results += [burn.Result(name, "", str(error)) for name in left() if name not in {one.name for one in results}]
    return _conclude(job, results, report)


def _readings(path: Path, image: Image) -> Iterator[Image]:
    """Yield the image for each round: a packed one can be read only once.

    Raises:
        PiclusterError: if the file is another one by now, to which the patches do not belong.
    """
    first = path.stat()
    yield image
    while True:
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) != (first.st_size, first.st_mtime_ns):
            raise PiclusterError(f"{path} was changed since the first round: burn the rest with a command of its own")
        with open_image(path) as opened:
            yield opened


def _burn_round(job: _Job, image: Image, places: Sequence[Place], report: Report) -> list[burn.Result]:
    cards = [burn.Card(place.name, place.title, place.open, job.patches[place.name]) for place in places]
    with report.board(image.path.name, [card.name for card in cards], row_event="card") as board:
        results = burn.burn(image, cards, job.options, _Watcher(board, len(cards), 1 + job.options.verify))
    good = [result.name for result in results if not result.error]
    for name in good:
        job.places.burnt(job.patches[name])
    if inventory.forget_host_keys(job.planned.folder, good):
        report.say("note", "", text="old host keys of these nodes were forgotten")
    for result in results:
        if result.error:
            sys.stderr.write(f"{result.name} failed: {result.error}\n")
    return results


def _conclude(job: _Job, results: Sequence[burn.Result], report: Report) -> int:
    burnt = [result.name for result in results if not result.error]
    failed = [result.name for result in results if result.error]
    verb = "burnt and verified" if job.options.verify else "burnt, not verified,"
    text = f"{verb} {len(burnt)} of {len(results)} cards{job.places.summary}"
    if failed:
        text += f"; failed: {', '.join(failed)} (again with: --name {','.join(failed)} --replace)"
    report.say("done", text, burnt=burnt, failed=failed)
    return exit_cards(len(failed))
