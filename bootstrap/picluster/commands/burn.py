"""picluster burn, which is cm-burn too: one card for each node, and the inventory that goes with them."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from picluster.cards import bmap, overlay, writer
from picluster.cards.image import open_image
from picluster.commands import EXIT_FAILED, EXIT_INTERRUPTED, exit_cards, images, planning
from picluster.commands import identity as identities
from picluster.commands import places as placing
from picluster.commands.again import command as again_command
from picluster.errors import PiclusterError
from picluster.firstboot import generations
from picluster.inventory import plan, record

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from picluster.cards.image import Image
    from picluster.cards.overlay import Patch
    from picluster.commands import Subparsers
    from picluster.commands.places import Place, Places
    from picluster.console.bars import Board
    from picluster.console.report import Report
    from picluster.firstboot.generations import Recognised
    from picluster.images.library import ResolvedImage


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
    parser.set_defaults(run=run, program=parser.prog)


@dataclass(frozen=True)
class _Job:
    """All that was checked.

    Attributes:
        given: What was typed.
        image: The open image.
        options: How to burn.
        nodes: Whose cards are burnt, in their order.
        identity: What all cards are told.
        recognised: What the image is, and the way of its first boot.
        places: Where the cards go.
        planned: What the inventory becomes.
        patches: What each node's card holds that the image does not.
    """

    given: argparse.Namespace
    image: Image
    options: writer.Options
    nodes: Sequence[str]
    identity: identities.Identity
    recognised: Recognised
    places: Places
    planned: plan.Plan
    patches: Mapping[str, Sequence[Patch]] = field(default_factory=dict)

    def files(self, name: str, identity: identities.Identity) -> Mapping[str, bytes]:
        """Return what is written to a node's boot partition."""
        return identity.files(self.recognised, name, self.planned.user)

    def told(self, identity: identities.Identity) -> _Job:
        """Return the same with cards that are told this.

        Raises:
            PiclusterError: if it finds no room on the image's boot partition.
        """
        head, boot = self.image.head, self.image.boot
        patches = {name: overlay.patches(head, boot, self.files(name, identity)) for name in self.nodes}
        return replace(self, identity=identity, patches=patches)


def run(options: argparse.Namespace, report: Report) -> int:
    """Burn the cards and write the inventory."""
    before = _recorded(options)
    with ExitStack() as stack:
        with record.blamed(planning.folder(options), _from_record(options, before)):
            job = _check(options, report, before, stack)
        _tell(job, report)
        return 0 if options.dry_run else _execute(job, report)


def _recorded(options: argparse.Namespace) -> record.Record | None:
    """Return how the cluster was burnt if --replace wants that; what options say wins over it."""
    if not options.replace:
        return None
    if options.ips is not None:
        raise PiclusterError("--replace keeps the node's address, and --ips would change it: leave one of them out")
    folder = planning.folder(options)
    plan.require_known(folder, planning.check_names(options))
    found = record.read(folder)
    if found is None and not (options.image and options.key):
        raise record.missing(folder)
    return found


def _sha256(options: argparse.Namespace, before: record.Record | None) -> str:
    """Return the checksum that the image must have, empty for none; a recorded one is that of the recorded image."""
    recorded = before.sha256 if before and options.image in (None, before.image) else ""
    return str(options.sha256 or recorded)


def _from_record(options: argparse.Namespace, before: record.Record | None) -> list[str]:
    """Return the options that were not given but taken from the record."""
    names = ("sha256", "firstboot", "country", "timezone", "locale")
    return [name for name in names if before and getattr(before, name) and not getattr(options, name)]


def _check(options: argparse.Namespace, report: Report, before: record.Record | None, stack: ExitStack) -> _Job:
    """Check everything; the image stays open as long as the stack."""
    identity = identities.read_identity(options, report, before)
    wanted = options.image or (before and before.image)
    if not wanted:
        raise PiclusterError("no --image was given: name the stock image (picluster images list shows some)")
    planning.check_names(options)  # a slip in the range need not wait for the image to be fetched
    sha256 = _sha256(options, before)
    resolved = images.library(options, report).resolve(wanted, sha256 or None)
    image = stack.enter_context(open_image(resolved.path))
    recognised = generations.recognise(image.boot_files(), image.path.name, identity.firstboot)
    nodes, planned = planning.make_plan(options, recognised.arch, client_id=recognised.adapter.client_id)
    _put_record(planned, _record(wanted, resolved, sha256, identity))
    places = placing.choose(options, nodes, image.path, image.end)
    block_map = _block_map(options, resolved, image)
    job = _Job(
        options,
        image,
        writer.Options(block_map, not options.no_verify, places.sparse),
        nodes,
        identity,
        recognised,
        places,
        planned,
    )
    return job.told(identity)


def _put_record(planned: plan.Plan, new: record.Record) -> None:
    noted = record.contents(planned.folder, new)
    if noted is None:
        return
    planned.writes[planned.folder / record.CARDS] = noted
    changed = record.differences(planned.folder, new)
    if changed:
        planned.notes.append(
            f"{record.CARDS} holds for all of {planned.folder.name}: what changes in it ({', '.join(changed)}) is what "
            "--replace of any of its nodes takes from now on"
        )


def _tell(job: _Job, report: Report) -> None:
    """Say what was found and what is to come."""
    found = job.recognised
    arch = "" if job.given.arch else f", userland guessed as {found.arch}"
    report.say(
        "image",
        f"{job.image.path}: {found.title}{arch}; first boot: {found.adapter.title}",
        path=str(job.image.path),
        generation=found.generation.name,
        guessed_arch=found.arch,
    )
    planning.say_plan(report, job.planned)
    job.places.tell(report, dry_run=job.given.dry_run)
    if not job.given.dry_run:
        return
    for name, place in zip(job.nodes, job.places.planned(), strict=True):
        written = ", ".join(job.files(name, job.identity))
        report.say("card", f"would burn {name} to {place} ({written})", name=name, path=place, state="planned")
    planning.say_inventory(report, job.planned, dry_run=True)


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


def _record(wanted: str, resolved: ResolvedImage, sha256: str, identity: identities.Identity) -> record.Record:
    local = Path(wanted).expanduser()
    is_file = "://" not in wanted and resolved.path.absolute().parent == local.absolute().parent
    wifi = identity.settings.wifi
    return record.Record(
        image=str(resolved.path.absolute()) if is_file else wanted,
        keys=identity.keys,
        sha256=sha256,
        firstboot=identity.firstboot or "",
        wifi=wifi.ssid if wifi else "",
        wifi_hidden=bool(wifi and wifi.hidden),
        country=identity.settings.country,
        timezone=identity.settings.timezone,
        locale=identity.settings.locale,
    )


class _Watcher(writer.Watcher):
    """Shows a burn on a board: each card, and all of them together.

    Attributes:
        good: The nodes whose cards are good: all that is known of a round that is interrupted.
    """

    def __init__(self, board: Board, cards: Sequence[str], passes: int) -> None:
        self._board = board
        self._passes = passes
        self._done: dict[str, float] = dict.fromkeys(cards, 0.0)
        self._total = 0
        self._lock = threading.Lock()
        self.good: set[str] = set()

    def card(self, name: str, state: str, done: int = 0, total: int = 0, detail: str = "") -> None:
        if state == "done":
            self.good.add(name)
        self._board.row(name, state, done, total, detail)
        with self._lock:
            self._total = total or self._total
            if not self._total:
                return
            whole = float(self._total * self._passes)
            # Nothing more comes of a card that failed, so it counts as done. A sync comes before the reading and after.
            went = {"writing": done, "syncing": self._total, "verifying": self._total + done}.get(state, whole)
            self._done[name] = max(self._done[name], min(float(went), whole))
            self._board.overall(sum(self._done.values()), whole * len(self._done))


def _execute(job: _Job, report: Report) -> int:
    if job.identity.unasked:
        job = job.told(identities.complete(job.identity))
    job.places.confirm(report)
    plan.apply(job.planned)
    planning.say_inventory(report, job.planned, dry_run=False)
    results: list[writer.Result] = []
    broken = False
    try:
        try:
            for places, image in zip(job.places.rounds(report), _readings(job.image), strict=False):
                _burn_round(job, image, places, report, results)
        except (PiclusterError, OSError) as error:
            # Something was changed by now, so this is no bad input any more.
            broken = True
            reason = str(error) if isinstance(error, PiclusterError) else _reason(error)
            report.error(reason, job.given.program)
            seen = {result.name for result in results}
            results += [writer.Result(name, "", reason) for name in job.nodes if name not in seen]
        return _conclude(job, results, report) or (EXIT_FAILED if broken else 0)
    except KeyboardInterrupt:
        return _interrupted(job, results, report)


def _interrupted(job: _Job, results: Sequence[writer.Result], report: Report) -> int:
    """Say what to go on with: the same command again would overwrite the cards that are good."""
    good = {result.name for result in results if not result.error}
    left = [name for name in job.nodes if name not in good]
    text = f"interrupted; not burnt: {', '.join(left)}{_again(job, left)[1]}" if left else "interrupted; all are burnt"
    report.error(text, job.given.program)
    with suppress(KeyboardInterrupt):
        planning.forget_host_keys(report, job.planned, good)
    return EXIT_INTERRUPTED


def _again(job: _Job, names: Sequence[str]) -> tuple[str, str]:
    """Return the command that burns these nodes' cards, and the end of the sentence that tells it.

    The command ends the line, so that nothing behind it is pasted with it.
    """
    left = job.places.left()
    command = again_command(job.given, names, left.options)
    return command, f"; {left.hint + ', ' if left.hint else ''}again with: {command}"


def _reason(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def _readings(image: Image) -> Iterator[Image]:
    """Yield the image for each round: a packed one can be read only once.

    Raises:
        PiclusterError: if the file is another one by now, to which the patches do not belong.
    """
    path = image.path
    first = path.stat()
    yield image
    while True:
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) != (first.st_size, first.st_mtime_ns):
            raise PiclusterError(f"{path} was changed since the first round: burn the rest with a command of its own")
        with open_image(path) as opened:
            yield opened


def _burn_round(job: _Job, image: Image, places: Sequence[Place], report: Report, results: list[writer.Result]) -> None:
    """Burn one round's cards; add to the results how each ended, also if the round is interrupted."""
    cards = [
        writer.Card(place.name, place.title, place.open, job.patches[place.name], place.capacity) for place in places
    ]
    names = [card.name for card in cards]
    ended: list[writer.Result] = []
    with report.board(image.path.name, names, row_event="card") as board:
        watcher = _Watcher(board, names, 1 + job.options.verify)
        try:
            ended = writer.burn(image, cards, job.options, watcher)
        finally:
            # Before all that may fail or be interrupted: a good card that is not noted would be burnt again.
            good_so_far = [writer.Result(card.name, card.place, "") for card in cards if card.name in watcher.good]
            results += ended or good_so_far
            good = {result.name for result in results if not result.error}
            for card in cards:
                if card.name in good:
                    job.places.burnt(card.place, card.patches)
    planning.forget_host_keys(report, job.planned, good)
    for result in ended:
        if result.error:
            report.aside(f"{result.name} failed: {result.error}")


def _conclude(job: _Job, results: Sequence[writer.Result], report: Report) -> int:
    burnt = [result.name for result in results if not result.error]
    failed = [result.name for result in results if result.error]
    verb, unsure = ("burnt and verified", "") if job.options.verify else ("burnt", ", not verified")
    text = f"{verb} {len(burnt)} of {len(results)} cards{job.places.summary}{unsure}"
    data: dict[str, object] = {"burnt": burnt, "failed": failed}
    if failed:
        data["again"], told = _again(job, failed)
        text += f"; failed: {', '.join(failed)}{told}"
    report.say("done", text, **data)
    return exit_cards(len(failed))
