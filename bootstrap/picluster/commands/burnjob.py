"""Execute a burn of which everything was checked, and report how to burn what is left."""

from __future__ import annotations

import dataclasses
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from picluster.cards import overlay, writer
from picluster.cards.image import open_image
from picluster.commands import EXIT_FAILED, EXIT_INTERRUPTED, again, changes, exit_cards
from picluster.commands.identity import complete
from picluster.errors import PiclusterError
from picluster.inventory import plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from picluster.cards.image import Image
    from picluster.cards.overlay import Patch
    from picluster.commands.identity import Identity, IdentityRequest
    from picluster.commands.places import Place, Places, PlacesRequest
    from picluster.console.bars import Board
    from picluster.console.report import Report
    from picluster.firstboot.generations import Recognised


@dataclass(frozen=True)
class BurnRequest:
    """What the options say.

    The image is as it was named, the program as it was typed; ``kept`` are the words that a further burn needs again.
    """

    nodes: plan.InventoryRequest
    identity: IdentityRequest
    places: PlacesRequest
    image: str | None
    sha256: str | None
    catalogues: Sequence[Path]
    bmap: Path | None
    use_bmap: bool
    verify: bool
    replace: bool
    dry_run: bool
    program: str
    kept: Sequence[str]


@dataclass(frozen=True)
class Job:
    """A burn of which everything was checked.

    The request is completed from the record; the patches are how the card of each node differs from the image, and
    ``written`` are the paths of its files.
    """

    request: BurnRequest
    image: Image
    options: writer.Options
    identity: Identity
    recognised: Recognised
    places: Places
    planned: plan.Plan
    patches: Mapping[str, Sequence[Patch]] = field(default_factory=dict)
    written: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def nodes(self) -> Sequence[str]:
        """Return the nodes whose cards are burnt, in their order."""
        return self.request.nodes.names

    def with_identity(self, identity: Identity) -> Job:
        """Return the job with cards that receive this, if the boot partition of the image has room for it."""
        volume = self.image.volume()
        files = {name: identity.files(self.recognised, name, self.planned.user) for name in self.nodes}
        patches = {name: overlay.patches(volume, files[name]) for name in self.nodes}
        written = {name: list(files[name]) for name in self.nodes}
        return dataclasses.replace(self, identity=identity, patches=patches, written=written)


class BurnDisplay(writer.Watcher):
    """Shows a burn on a board: each card, and all of them together.

    ``good`` are the nodes whose cards are good: all that is known of a round that is interrupted.
    """

    def __init__(self, board: Board, cards: Sequence[str], passes: int) -> None:
        self._board = board
        self._passes = passes
        self._done: dict[str, float] = dict.fromkeys(cards, 0.0)
        self._total = 0
        self._lock = threading.Lock()
        self.good: set[str] = set()

    def card(self, name: str, state: str, done: int = 0, total: int = 0, detail: str = "") -> None:
        """Show the progress of a card; see writer.Watcher."""
        if state == "done":
            self.good.add(name)
        self._board.row(name, state, done, total, detail)
        with self._lock:
            self._total = total or self._total
            if not self._total:
                return
            whole = float(self._total * self._passes)
            # A card that failed makes no more progress, so it counts as done. A sync precedes and follows the reading.
            went = {"writing": done, "syncing": self._total, "verifying": self._total + done}.get(state, whole)
            self._done[name] = max(self._done[name], min(float(went), whole))
            self._board.overall(sum(self._done.values()), whole * len(self._done))


def execute(job: Job, report: Report) -> int:
    """Write the inventory and burn the cards; return the exit code."""
    if job.identity.ask:
        job = job.with_identity(complete(job.identity))
    job.places.confirm(report)
    withdraw = plan.apply(job.planned)
    changes.report_files(report, job.planned, dry_run=False)
    results: list[writer.Result] = []
    broken = False
    try:
        try:
            for places, image in zip(job.places.rounds(report), _readings(job.image), strict=False):
                _burn_round(job, image, places, report, results)
        except (PiclusterError, OSError) as error:
            # Something was changed by now, so this is not bad input any more.
            broken = True
            reason = str(error)
            if isinstance(error, OSError):
                reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or reason
            report.error(reason, job.request.program)
            seen = {result.name for result in results}
            results += [writer.Result(name, "", reason) for name in job.nodes if name not in seen]
        if any(result.broken_image for result in results) and all(result.error for result in results):
            # An inventory of cards that do not exist would mislead the next command.
            withdraw()
            report.note("no card is good, because of the image; the inventory is as it was before")
            return _conclude(job, results, report, broken_image=True)
        return _conclude(job, results, report) or (EXIT_FAILED if broken else 0)
    except KeyboardInterrupt:
        return _interrupted(job, results, report)


def _interrupted(job: Job, results: Sequence[writer.Result], report: Report) -> int:
    """Report how to continue: the same command again would overwrite the cards that are good."""
    good = {result.name for result in results if not result.error}
    left = [name for name in job.nodes if name not in good]
    text = f"not burnt: {', '.join(left)}{_again(job, left)[1]}" if left else "all cards are burnt"
    report.error(f"interrupted; {text}", job.request.program)
    with suppress(KeyboardInterrupt):
        changes.forget_host_keys(report, job.planned, good)
    return EXIT_INTERRUPTED


def _again(job: Job, names: Sequence[str]) -> tuple[str, str]:
    """Return the command that burns the cards of these nodes, and the end of the sentence that suggests it.

    The command ends the line, so that nothing behind it is pasted with it.
    """
    left = job.places.left()
    command = again.command(job.request.program, names, job.request.kept, left.options)
    return command, f"; {left.hint + ', then run' if left.hint else 'run'}: {command}"


def _readings(image: Image) -> Iterator[Image]:
    """Yield the image for each round, as a packed one can be read only once; refuse a file that was changed since."""
    path = image.path
    first = path.stat()
    yield image
    while True:
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) != (first.st_size, first.st_mtime_ns):
            raise PiclusterError(
                f"{path} was changed since the first round: burn the remaining cards with another command"
            )
        with open_image(path) as opened:
            yield opened


def _burn_round(job: Job, image: Image, places: Sequence[Place], report: Report, results: list[writer.Result]) -> None:
    """Burn the cards of one round; add their results, also if the round is interrupted."""
    cards = [
        writer.Card(place.name, place.title, place.open, job.patches[place.name], place.capacity) for place in places
    ]
    names = [card.name for card in cards]
    ended: list[writer.Result] = []
    with report.board(image.path.name, names, row_event="card") as board:
        watcher = BurnDisplay(board, names, 1 + job.options.verify)
        try:
            ended = writer.burn(image, cards, job.options, watcher)
        finally:
            # Before anything that may fail or be interrupted: a good card that is not noted would be burnt again.
            good_so_far = [writer.Result(card.name, card.place, "") for card in cards if card.name in watcher.good]
            results += ended or good_so_far
            good = {result.name for result in results if not result.error}
            for card in cards:
                if card.name in good:
                    job.places.burnt(card.place, card.patches)
    changes.forget_host_keys(report, job.planned, good)
    for result in ended:
        if result.error:
            report.aside(f"{result.name} failed: {result.error}")


def _conclude(job: Job, results: Sequence[writer.Result], report: Report, *, broken_image: bool = False) -> int:
    burnt = [result.name for result in results if not result.error]
    failed = [result.name for result in results if result.error]
    verb, unsure = ("burnt and verified", "") if job.options.verify else ("burnt", ", not verified")
    text = f"{verb} {len(burnt)} of {len(results)} cards{job.places.summary}{unsure}"
    data: dict[str, object] = {"burnt": burnt, "failed": failed}
    if failed and broken_image:
        text += "; fetch the image again, then run the same command"
    elif failed:
        data["again"], hint = _again(job, failed)
        text += f"; failed: {', '.join(failed)}{hint}"
    report.say("done", text, **data)
    return exit_cards(len(failed))
