"""picluster images: list the names that --image accepts, and manage the cache of downloaded images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from picluster.commands import EXIT_FAILED, add_command, add_json
from picluster.firstboot import generations
from picluster.images import catalogue
from picluster.images.library import Library, image_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from picluster.commands import Options, Subparsers
    from picluster.console.report import Report

_HEAD = ("NAME", "ARCH", "DATE", "SIZE", "IN CACHE")


@dataclass(frozen=True)
class ImagesRequest:
    """What the options say."""

    catalogues: Sequence[Path]
    names: Sequence[str] = ()
    sha256: str | None = None


def add_to(commands: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(commands, "images", "list, download and verify card images")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    lists = add_command(verbs, "list", "list the names that --image accepts, and the images in the cache")
    lists.set_defaults(run=_list)
    get = add_command(verbs, "get", "download an image into the cache")
    get.add_argument("names", nargs=1, metavar="NAME|URL", help="name from picluster images list, or http(s) URL")
    add_sha256(get)
    get.set_defaults(run=_get)
    verify = add_command(verbs, "verify", "verify the checksums of the images in the cache")
    verify.add_argument("names", nargs="*", metavar="NAME", help="images to verify (default: all)")
    verify.set_defaults(run=_verify)
    for verb in (lists, get, verify):
        add_catalogue(verb)
        add_json(verb)
        verb.set_defaults(parse=_parse)


def add_sha256(parser: Options) -> None:
    """Add --sha256."""
    parser.add_argument("--sha256", metavar="HEX", help="expected SHA-256 of the image file, packed as it is")


def add_catalogue(parser: Options) -> None:
    """Add --catalogue."""
    own = str(catalogue.user_file()).replace("%", "%%")  # argparse formats its help
    parser.add_argument(
        "--catalogue",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"file with names of your own images; can be repeated (default: {own}, if it exists)",
    )


def _parse(options: argparse.Namespace) -> ImagesRequest:
    return ImagesRequest(options.catalogue, getattr(options, "names", ()), getattr(options, "sha256", None))


def library(catalogues: Sequence[Path], report: Report) -> Library:
    """Return the library of images that these catalogues describe."""
    return Library(image_folder(), catalogue.load(catalogues, generations.WORDS), report)


def _list(request: ImagesRequest, report: Report) -> int:
    rows = library(request.catalogues, report).listed()
    table = []
    for row in rows:
        entry = row.entry
        size = decimal(row.size) if row.size else "-"
        cached = "yes" if row.path else "no"
        table.append((entry.name, entry.arch or "-", entry.released or "-", size, cached))
        report.say(
            "image",
            "",
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
    # The shipped catalogue knows no sizes; those of the user or of the cache are shown.
    shown = [name != "SIZE" or any(row.size for row in rows) for name in _HEAD]
    report.table(tuple(compress(_HEAD, shown)), [tuple(compress(line, shown)) for line in table])
    report.say(
        "catalogue",
        f"add your own names in {catalogue.user_file()}; cache: {image_folder()}",
        own=str(catalogue.user_file()),
        cache=str(image_folder()),
    )
    return 0


def _get(request: ImagesRequest, report: Report) -> int:
    (name,) = request.names
    image = library(request.catalogues, report).get(name, request.sha256)
    report.say("image", str(image.path), path=str(image.path), sha256=image.sha256, generation=image.generation)
    return 0


def _verify(request: ImagesRequest, report: Report) -> int:
    states = []
    for one in library(request.catalogues, report).verify(request.names):
        states.append(one.state)
        says = {
            "ok": "is intact",
            "differs": "differs from what was verified; the next command that needs it downloads it again",
            "missing": "was removed from the cache",
        }[one.state]
        report.say("image", f"{one.name} {says} ({one.path})", name=one.name, path=str(one.path), state=one.state)
    bad = sum(state != "ok" for state in states)
    good = len(states) - bad
    report.say("done", f"verified {len(states)} images: {good} good, {bad} bad", good=good, bad=bad)
    return EXIT_FAILED if bad else 0
