"""picluster burn, which is cm-burn too: one card for each node, and the inventory that goes with them."""

from __future__ import annotations

import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from picluster import burn, firstboot, inventory, keys, names, overlay
from picluster.commands import EXIT_FAILED, planning
from picluster.errors import PiclusterError
from picluster.filetarget import FileTarget
from picluster.image import guess_arch, identify, open_image

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from picluster.commands import Subparsers
    from picluster.image import Image
    from picluster.report import Board, Report


def add_to(commands: Subparsers) -> None:
    """Describe the command."""
    add_options(commands.add_parser("burn", help="burn one card image for each node and write the inventory"))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options of picluster burn, which is cm-burn too."""
    planning.add_nodes(parser)
    parser.add_argument(
        "--key",
        type=Path,
        required=True,
        action="append",
        metavar="FILE",
        help="public SSH key that may log in, may be repeated",
    )
    parser.add_argument("--image", type=Path, required=True, help="stock card image: .img, .xz, .gz, .zst or .zip")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("cards"),
        metavar="DIR",
        help="where the card images go, one a node (default: cards)",
    )
    parser.set_defaults(run=run)


class _Watcher(burn.Watcher):
    """Shows a burn on a board."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def card(self, name: str, state: str, done: int = 0, total: int = 0, detail: str = "") -> None:
        self._board.row(name, state, done, total, detail)


@dataclass(frozen=True)
class _Job:
    image: Image
    cards: list[burn.Card]
    planned: inventory.Plan


def run(options: argparse.Namespace, report: Report) -> int:
    """Burn the cards and write the inventory."""
    public = keys.read_keys(options.key)
    names.expand_names(options.name)  # a slip in the range need not wait for the image to be unpacked
    opened: AbstractContextManager[Image] = open_image(options.image)
    with opened as image:
        boot = image.boot_files()
        adapter = firstboot.choose(boot, image.path.name)
        guessed = guess_arch(boot)
        nodes, planned = planning.make_plan(options, guessed, client_id=adapter.client_id)
        _check_output(options.output, nodes, image.path)
        files = {}
        for name in nodes:
            node = firstboot.NodeIdentity(name, public, planned.user, f"picluster-{name}-{uuid.uuid4().hex}")
            files[name] = adapter.render(boot, node)
        cards = [_card(image, name, options.output / f"{name}.img", files[name]) for name in nodes]
        arch = "" if options.arch else f", userland guessed as {guessed}"
        report.say(
            "image",
            f"{image.path}: {identify(boot).title}{arch}; first boot: {adapter.title}",
            path=str(image.path),
            generation=identify(boot).name,
            guessed_arch=guessed,
        )
        planning.say_plan(report, planned)
        if options.dry_run:
            for card in cards:
                written = ", ".join(files[card.name])
                report.say(
                    "card",
                    f"would burn {card.place} ({written})",
                    name=card.name,
                    path=card.place,
                    state="planned",
                )
            planning.say_inventory(report, planned, dry_run=True)
            return 0
        return _write(_Job(image, cards, planned), options, report)


def _card(image: Image, name: str, path: Path, files: Mapping[str, bytes]) -> burn.Card:
    return burn.Card(name, str(path), lambda: FileTarget(path), overlay.patches(image.head, image.boot, files))


def _check_output(output: Path, nodes: Sequence[str], image: Path) -> None:
    planning.check_folder(output, "-o")
    for name in nodes:
        path = output / f"{name}.img"
        if not path.exists():
            continue
        if path.samefile(image):
            raise PiclusterError(f"{path} is the image itself: choose another directory with -o")
        if not path.is_file():
            raise PiclusterError(f"{path} is not a file: choose another directory with -o")


def _write(job: _Job, options: argparse.Namespace, report: Report) -> int:
    options.output.mkdir(parents=True, exist_ok=True)
    inventory.apply(job.planned)
    planning.say_inventory(report, job.planned, dry_run=False)
    with report.board(job.image.path.name, [card.name for card in job.cards], row_event="card") as board:
        results = burn.burn(job.image, job.cards, watcher=_Watcher(board))
    good = [result for result in results if not result.error]
    bad = [result for result in results if result.error]
    if inventory.forget_host_keys(job.planned.folder, [result.name for result in good]):
        report.say("note", "", text="old host keys of these nodes were forgotten")
    for result in bad:
        sys.stderr.write(f"{result.name} failed: {result.error}\n")
    failed = [result.name for result in bad]
    text = f"burnt and verified {len(good)} of {len(results)} cards in {options.output}"
    text += f"; failed: {', '.join(failed)}" if failed else ""
    report.say("done", text, burnt=[result.name for result in good], failed=failed)
    return EXIT_FAILED if bad else 0
