"""picluster images: the names that --image knows, and the cache of what was fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from picluster.commands import EXIT_FAILED, add_json
from picluster.firstboot import generations
from picluster.images import catalogue
from picluster.images.library import Library, image_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from picluster.commands import Options, Subparsers
    from picluster.console.report import Report


def add_to(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser("images", help="list, fetch and verify card images")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    lists = verbs.add_parser("list", help="the names that --image takes, and what is in the cache")
    lists.set_defaults(run=_list)
    get = verbs.add_parser("get", help="fetch an image into the cache")
    get.add_argument("image", metavar="NAME|URL", help="a name of picluster images list, or an http(s) URL")
    add_sha256(get)
    get.set_defaults(run=_get)
    verify = verbs.add_parser("verify", help="hash the images in the cache again")
    verify.add_argument("images", nargs="*", metavar="NAME", help="which of them (default: all)")
    verify.set_defaults(run=_verify)
    for verb in (lists, get, verify):
        add_catalogue(verb)
        add_json(verb)


def add_sha256(parser: Options) -> None:
    """Add --sha256."""
    parser.add_argument("--sha256", metavar="HEX", help="SHA-256 that the image must have, packed as it is")


def add_catalogue(parser: Options) -> None:
    """Add --catalogue."""
    own = str(catalogue.user_file()).replace("%", "%%")  # argparse formats its help
    parser.add_argument(
        "--catalogue",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"names of your own images, may be repeated (default: {own}, if it is there)",
    )


def library(options: argparse.Namespace, report: Report) -> Library:
    """Make the library that the options of add_catalogue() describe.

    Raises:
        PiclusterError: if a catalogue cannot be used.
    """
    return Library(image_folder(), catalogue.load(options.catalogue, generations.WORDS), report)


def _list(options: argparse.Namespace, report: Report) -> int:
    rows = library(options, report).listed()
    table = [("NAME", "GENERATION", "ARCH", "DATE", "SIZE", "IN CACHE")]
    for row in rows:
        entry = row.entry
        size = decimal(row.size) if row.size else "-"
        cached = "yes" if row.path else "no"
        table.append((entry.name, entry.generation or "-", entry.arch or "-", entry.released or "-", size, cached))
    lines = _columns(table)
    if not report.json:
        report.say("", lines[0])
    for row, line in zip(rows, lines[1:], strict=True):
        entry = row.entry
        report.say(
            "image",
            line,
            name=entry.name,
            aliases=entry.aliases,
            url=entry.url,
            generation=entry.generation,
            arch=entry.arch,
            released=entry.released,
            sha256=entry.sha256,
            size=row.size,
            path=str(row.path) if row.path else None,
        )
    report.say(
        "catalogue",
        f"names of your own: {catalogue.user_file()}; the cache: {image_folder()}",
        own=str(catalogue.user_file()),
        cache=str(image_folder()),
    )
    return 0


def _columns(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _get(options: argparse.Namespace, report: Report) -> int:
    image = library(options, report).get(options.image, options.sha256)
    report.say("image", str(image.path), path=str(image.path), sha256=image.sha256, generation=image.generation)
    return 0


def _verify(options: argparse.Namespace, report: Report) -> int:
    states = []
    for one in library(options, report).verify(options.images):
        states.append(one.state)
        says = {
            "ok": "is what it should be",
            "differs": "differs from what was verified: the next command that needs it fetches it again",
            "missing": "was removed from the cache",
        }[one.state]
        report.say("image", f"{one.name} {says} ({one.path})", name=one.name, path=str(one.path), state=one.state)
    bad = sum(state != "ok" for state in states)
    good = len(states) - bad
    report.say("done", f"verified {len(states)} images: {good} good, {bad} bad", good=good, bad=bad)
    return EXIT_FAILED if bad else 0
