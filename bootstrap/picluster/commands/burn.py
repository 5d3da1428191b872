"""picluster burn, also installed as cm-burn: one card for each node, and the inventory that belongs to them."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from picluster.cards import bmap, writer
from picluster.cards.image import open_image
from picluster.commands import add_command, again, changes, identity, images, nodes
from picluster.commands import places as placing
from picluster.commands.burnjob import BurnRequest, Job, execute
from picluster.errors import PiclusterError
from picluster.firstboot import generations
from picluster.inventory import keys, plan, record

if TYPE_CHECKING:
    import argparse

    from picluster.cards.image import Image
    from picluster.commands import Subparsers
    from picluster.commands.identity import Identity
    from picluster.console.report import Report
    from picluster.images.library import ResolvedImage

ABOUT = "burn one card for each node from a stock image, and write the inventory of the cluster"


def add_to(commands: Subparsers) -> None:
    """Declare the command."""
    add_options(add_command(commands, "burn", ABOUT))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of picluster burn, which are those of cm-burn too."""
    nodes.add_nodes(parser, key="; required without --replace")
    identity.add_identity(parser)
    source = parser.add_argument_group("image")
    source.add_argument(
        "--image",
        metavar="IMAGE",
        help="stock image: a file (plain, .xz, .gz, .bz2, .zst or .zip), a URL, or a name from picluster images list; "
        "required without --replace",
    )
    images.add_sha256(source)
    images.add_catalogue(source)
    source.add_argument(
        "--bmap", type=Path, metavar="FILE", help="block map of the image (default: the .bmap file beside the image)"
    )
    source.add_argument("--no-bmap", action="store_true", help="write every block, without a block map")
    placing.add_places(parser.add_argument_group("cards"))
    parser.add_argument("--no-verify", action="store_true", help="do not read the cards back")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="burn new cards for nodes of the inventory; image, keys and settings default to those of the last burn",
    )
    parser.set_defaults(parse=parse, run=run, program=parser.prog)


def parse(options: argparse.Namespace) -> BurnRequest:
    """Return the request of the command."""
    if options.replace and options.ips is not None:
        raise PiclusterError("--replace keeps the addresses of the nodes, --ips changes them: leave one of them out")
    if options.bmap and options.no_bmap:
        raise PiclusterError("--bmap and --no-bmap exclude each other: give one of them")
    return BurnRequest(
        nodes=nodes.parse_nodes(options),
        identity=identity.parse_identity(options),
        places=placing.parse_places(options),
        image=options.image,
        sha256=options.sha256,
        catalogues=options.catalogue,
        bmap=options.bmap,
        use_bmap=not options.no_bmap,
        verify=not options.no_verify,
        replace=options.replace,
        dry_run=options.dry_run,
        program=options.program,
        kept=again.parse_kept(options),
    )


def run(request: BurnRequest, report: Report) -> int:
    """Burn the cards and write the inventory."""
    request, recorded = _complete(request)
    with ExitStack() as stack:
        with record.blamed(request.nodes.folder, recorded):
            job = _check(request, report, stack)
        _report_job(job, report)
        return 0 if request.dry_run else execute(job, report)


def _complete(request: BurnRequest) -> tuple[BurnRequest, list[str]]:
    """Return the request with what --replace takes from the record, and the names of the options taken from there."""
    if not request.replace:
        return request, []
    folder, given = request.nodes.folder, request.identity
    plan.require_known(folder, request.nodes.names)
    found = record.read(folder)
    if found is None:
        if not (request.image and given.keys):
            raise PiclusterError(
                f"there is no {folder / record.CARDS}, which records how the cards were burnt: give --image and --key"
            )
        return request, []
    if not given.keys:
        keys.check_accepted(found.keys, f"the keys in {folder / record.CARDS}")
    # A recorded checksum is that of the recorded image.
    sha256 = request.sha256 or (found.sha256 if request.image in (None, found.image) else "") or None
    names = ("firstboot", "country", "timezone", "locale")
    recorded = [name for name in names if getattr(found, name) and not getattr(given, name)]
    if sha256 and not request.sha256:
        recorded.append("sha256")
    completed = dataclasses.replace(
        request, image=request.image or found.image, sha256=sha256, identity=given.with_record(found)
    )
    return completed, recorded


def _check(request: BurnRequest, report: Report, stack: ExitStack) -> Job:
    """Check everything; the image stays open as long as the stack."""
    checked = identity.check(request.identity)
    if not request.image:
        raise PiclusterError("no --image was given: name a stock image (picluster images list shows some)")
    resolved = images.library(request.catalogues, report).resolve(request.image, request.sha256)
    image = stack.enter_context(open_image(resolved.path))
    recognised = generations.recognise(image.boot_files(), image.path.name, checked.firstboot)
    client_id = recognised.adapter.client_id
    planned = plan.plan(dataclasses.replace(request.nodes, guessed_arch=recognised.arch, client_id=client_id))
    _add_record(planned, _record(request.image, resolved, request.sha256 or "", checked))
    places = placing.choose(request.places, request.nodes.names, image.path, image.end)
    options = writer.Options(_block_map(request, resolved, image), request.verify, places.sparse)
    return Job(request, image, options, checked, recognised, places, planned).with_identity(checked)


def _add_record(planned: plan.Plan, new: record.Record) -> None:
    contents, changed = record.update(planned.folder, new)
    if contents is not None:
        planned.writes[planned.folder / record.CARDS] = contents
    if changed:
        planned.notes.append(
            f"{record.CARDS} applies to all nodes of {planned.folder.name}: the new values ({', '.join(changed)}) "
            "are those of --replace for any of them from now on"
        )


def _report_job(job: Job, report: Report) -> None:
    """Report what was found and what is about to happen."""
    found, request = job.recognised, job.request
    arch = request.nodes.arch or f"{found.arch} (guessed; --arch changes it)"
    report.say(
        "image",
        f"{job.image.path}: {found.title}, {arch}; first boot by {found.adapter.name}",
        path=str(job.image.path),
        generation=found.generation.name,
        guessed_arch=found.arch,
    )
    changes.report_plan(report, job.planned)
    job.places.announce(report, dry_run=request.dry_run)
    if not request.dry_run:
        return
    for name, place in zip(job.nodes, job.places.planned(), strict=True):
        written = ", ".join(job.written[name])
        report.say("card", f"would burn {name} to {place} ({written})", name=name, path=place, state="planned")
    changes.report_files(report, job.planned, dry_run=True)


def _block_map(request: BurnRequest, resolved: ResolvedImage, image: Image) -> bmap.Bmap | None:
    path = request.bmap or resolved.bmap
    if path is None or not request.use_bmap:
        return None
    found = bmap.read(path)
    if found.image_size < image.end or image.length not in (None, found.image_size):
        size = f"{image.end} or more" if image.length is None else image.length
        raise PiclusterError(
            f"{path} belongs to another image: it maps {found.image_size} bytes, but {image.path.name} has "
            f"{size}; name the right block map with --bmap, or give --no-bmap"
        )
    return found


def _record(name: str, resolved: ResolvedImage, sha256: str, identity: Identity) -> record.Record:
    local = Path(name).expanduser()
    is_file = "://" not in name and resolved.path.absolute().parent == local.absolute().parent
    wifi = identity.settings.wifi
    return record.Record(
        image=str(resolved.path.absolute()) if is_file else name,
        keys=identity.keys,
        sha256=sha256,
        firstboot=identity.firstboot or "",
        wifi=wifi.ssid if wifi else "",
        wifi_hidden=bool(wifi and wifi.hidden),
        country=identity.settings.country,
        timezone=identity.settings.timezone,
        locale=identity.settings.locale,
    )
