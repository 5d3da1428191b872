"""The commands: picluster burn, picluster inventory, and cm-burn, which is picluster burn."""

from __future__ import annotations

import argparse
import re
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from picluster import burn, firstboot, inventory, keys, names
from picluster.errors import PiclusterError
from picluster.image import guess_arch, identify, open_image
from picluster.report import Report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from ipaddress import IPv4Address

    from picluster.image import Image

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
# Debian's adduser (NAME_REGEX), and at most 32 characters as useradd has it.
_USER = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage text above it."""

    def error(self, message: str) -> None:  # type: ignore[override] # PiclusterError ends it as exit() would
        raise PiclusterError(f"{message} ({self.prog} --help shows all options)")


def _add_nodes(parser: argparse.ArgumentParser, *, addresses_required: bool) -> None:
    parser.add_argument("--name", required=True, metavar="RANGE", help="nodes, like red[5-7] or red[001-200]")
    parser.add_argument(
        "--ips",
        required=addresses_required,
        metavar="RANGE",
        help="their addresses in the same order, like 192.168.1.[5-7] (default: those in the inventory)",
    )
    parser.add_argument("--cluster", help="name of the cluster (default: what the nodes' names have in common)")
    parser.add_argument("--prefix", type=int, help="bits of the network (default: 24)")
    parser.add_argument("--gateway", help="the router's address (default: the first of the network)")
    parser.add_argument(
        "--dns", action="append", default=[], help="name server, may be repeated (default: the gateway)"
    )
    parser.add_argument("--user", help="who logs in, with sudo (default: pi)")
    parser.add_argument("--arch", choices=inventory.ARCHS, help="the nodes' userland (default: guessed from the image)")
    parser.add_argument(
        "--inventories", type=Path, default=Path("inventories"), metavar="DIR", help="where inventories are kept"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    parser.add_argument("--json", action="store_true", help="events as JSON lines instead of text")


def _add_burn(parser: argparse.ArgumentParser) -> None:
    _add_nodes(parser, addresses_required=False)
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
    parser.set_defaults(run=_burn)


def _burn_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cm-burn", description="Burn one card image for each node, with its key and DHCP hint.")
    _add_burn(parser)
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="picluster", description="Cards and inventory for a cluster of small boards.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_burn(commands.add_parser("burn", help="burn one card image for each node and write the inventory"))
    written = commands.add_parser("inventory", help="write the inventory without burning")
    _add_nodes(written, addresses_required=False)
    written.add_argument("--key", type=Path, action="append", default=[], metavar="FILE", help="public SSH key")
    written.set_defaults(run=_inventory)
    return parser


def _plan(
    options: argparse.Namespace, guessed_arch: str | None, *, client_id: bool | None
) -> tuple[list[str], inventory.Plan]:
    nodes = names.expand_names(options.name)
    _check_folder(options.inventories, "--inventories")
    addresses: dict[str, IPv4Address] | None = None
    if options.ips is not None:
        addresses = names.pair(nodes, names.expand_addresses(options.ips))
    cluster = names.check_cluster_name(options.cluster) if options.cluster is not None else names.cluster_of(nodes)
    if options.user is not None and (not _USER.fullmatch(options.user) or options.user == "root"):
        raise PiclusterError(f"--user {options.user!r} cannot log in: small letters and digits, at most 32, not root")
    request = inventory.Request(
        folder=options.inventories / cluster,
        cluster=cluster,
        names=nodes,
        addresses=addresses,
        prefix=options.prefix,
        gateway=options.gateway,
        dns=options.dns,
        user=options.user,
        arch=options.arch,
        guessed_arch=guessed_arch,
        private_key=keys.private_half(options.key, Path.home()),
        client_id=client_id,
    )
    return nodes, inventory.plan(request)


def _say_plan(report: Report, planned: inventory.Plan) -> None:
    net = planned.net
    dns = ", ".join(map(str, net.dns))
    report.say(
        "network",
        f"network {net.network}, gateway {net.gateway}, name server {dns} (--prefix, --gateway and --dns change them)",
        network=str(net.network),
        gateway=str(net.gateway),
        dns=[str(server) for server in net.dns],
    )
    for note in planned.notes:
        report.say("note", f"note: {note}", text=note)


def _say_inventory(report: Report, planned: inventory.Plan, *, dry_run: bool) -> None:
    secret = [planned.folder / inventory.SECRETS] if planned.make_secret else []
    paths = [str(path) for path in [*planned.writes, *secret]]
    verb = "would write" if dry_run else "wrote"
    text = f"{verb} {', '.join(paths)}" if paths else f"the inventory {planned.folder} is up to date"
    report.say("inventory", text, folder=str(planned.folder), files=paths, dry_run=dry_run)


def _inventory(options: argparse.Namespace, report: Report) -> int:
    if options.key:
        keys.read_keys(options.key)
    _, planned = _plan(options, None, client_id=None)
    _say_plan(report, planned)
    if not options.dry_run:
        inventory.apply(planned)
    _say_inventory(report, planned, dry_run=options.dry_run)
    return 0


@dataclass(frozen=True)
class _Job:
    image: Image
    cards: list[burn.Card]
    planned: inventory.Plan


def _burn(options: argparse.Namespace, report: Report) -> int:
    public = keys.read_keys(options.key)
    names.expand_names(options.name)  # a slip in the range need not wait for the image to be unpacked
    opened: AbstractContextManager[Image] = open_image(options.image)
    with opened as image:
        boot = image.boot_files()
        adapter = firstboot.choose(boot, image.path.name)
        guessed = guess_arch(boot)
        nodes, planned = _plan(options, guessed, client_id=adapter.client_id)
        _check_output(options.output, nodes, image.path)
        cards = []
        for name in nodes:
            node = firstboot.NodeIdentity(name, public, planned.user, f"picluster-{name}-{uuid.uuid4().hex}")
            cards.append(burn.Card(name, options.output / f"{name}.img", adapter.render(boot, node)))
        image.volume().require_room(cards[0].files)
        arch = "" if options.arch else f", userland guessed as {guessed}"
        report.say(
            "image",
            f"{image.path}: {identify(boot).title}{arch}; first boot: {adapter.title}",
            path=str(image.path),
            generation=identify(boot).name,
            guessed_arch=guessed,
        )
        _say_plan(report, planned)
        if options.dry_run:
            for card in cards:
                files = ", ".join(card.files)
                report.say(
                    "card", f"would burn {card.path} ({files})", name=card.name, path=str(card.path), state="planned"
                )
            _say_inventory(report, planned, dry_run=True)
            return 0
        return _write(_Job(image, cards, planned), options, report)


def _check_output(output: Path, nodes: Sequence[str], image: Path) -> None:
    _check_folder(output, "-o")
    for name in nodes:
        path = output / f"{name}.img"
        if not path.exists():
            continue
        if path.samefile(image):
            raise PiclusterError(f"{path} is the image itself: choose another directory with -o")
        if not path.is_file():
            raise PiclusterError(f"{path} is not a file: choose another directory with -o")


def _check_folder(folder: Path, option: str) -> None:
    """Refuse a folder that cannot be made because a file is in its way."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise PiclusterError(f"{option} {folder} cannot be a directory: {there} is a file")


def _write(job: _Job, options: argparse.Namespace, report: Report) -> int:
    options.output.mkdir(parents=True, exist_ok=True)
    inventory.apply(job.planned)
    _say_inventory(report, job.planned, dry_run=False)
    with report.start(job.image.path.name, [card.name for card in job.cards]) as watcher:
        results = burn.burn(job.image, job.cards, watcher)
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


def _main(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        names.refuse_long_dashes(given)
        options = parser.parse_args(given)
        return int(options.run(options, Report(as_json=options.json)))
    except PiclusterError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return EXIT_BAD_INPUT
    except OSError as error:
        sys.stderr.write(f"{parser.prog}: {error.filename or 'a file'}: {error.strerror or error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        sys.stderr.write(f"{parser.prog}: interrupted; run the same command again\n")
        return EXIT_INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run picluster; return its exit code (0 good, 1 a card failed, 2 bad input and nothing written)."""
    return _main(_parser(), arguments)


def cm_burn(arguments: Sequence[str] | None = None) -> int:
    """Run picluster burn under its short name."""
    return _main(_burn_parser(), arguments)
