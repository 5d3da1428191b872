"""What the commands that write an inventory share: their options, and the plan that is made of them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from picluster.commands import add_json
from picluster.commands import path as a_path
from picluster.errors import PiclusterError
from picluster.inventory import keys, names, plan

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Sequence
    from ipaddress import IPv4Address

    from picluster.console.report import Report
    from picluster.inventory.edit import Edit

DEFAULT_INVENTORIES = Path("inventories")
# Debian's adduser (NAME_REGEX), and at most 32 characters as useradd has it.
_USER = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def add_inventories(parser: argparse.ArgumentParser) -> None:
    """Add --inventories."""
    parser.add_argument(
        "--inventories", type=a_path, default=DEFAULT_INVENTORIES, metavar="DIR", help="where inventories are kept"
    )


def add_nodes(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the nodes and their network."""
    parser.add_argument("--name", required=True, metavar="RANGE", help="nodes, like red[5-7] or red[001-200]")
    parser.add_argument(
        "--ips",
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
    parser.add_argument("--arch", choices=plan.ARCHS, help="the nodes' userland (default: guessed from the image)")
    add_inventories(parser)
    parser.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    add_json(parser)


def check_names(options: argparse.Namespace) -> list[str]:
    """Return the nodes of this command.

    Raises:
        PiclusterError: if --name is no range of host names.
    """
    return names.expand_names(options.name)


def folder(options: argparse.Namespace) -> Path:
    """Return the directory of the cluster's inventory, which may not be there yet.

    Raises:
        PiclusterError: if the cluster cannot be told from the names, or its name cannot be a directory's.
    """
    nodes = check_names(options)
    check_folder(options.inventories, "--inventories")
    cluster = names.check_cluster_name(options.cluster) if options.cluster is not None else names.cluster_of(nodes)
    path = Path(options.inventories) / cluster
    check_folder(path, "--inventories")
    return path


def make_plan(
    options: argparse.Namespace, guessed_arch: str | None, *, client_id: bool | None
) -> tuple[list[str], plan.Plan]:
    """Check the options and work out what the inventory becomes.

    Args:
        options: Of add_nodes(), and ``key``.
        guessed_arch: What the image looks like, if there is one.
        client_id: Whether the cards send a client-id; None if no card is made.

    Returns:
        The nodes of this command and the plan; nothing is written.

    Raises:
        PiclusterError: for whatever is wrong.
    """
    nodes = check_names(options)
    path = folder(options)
    addresses: dict[str, IPv4Address] | None = None
    if options.ips is not None:
        addresses = names.pair(nodes, names.expand_addresses(options.ips))
    if options.user is not None and (not _USER.fullmatch(options.user) or options.user == "root"):
        raise PiclusterError(f"--user {options.user!r} cannot log in: small letters and digits, at most 32, not root")
    # Only what makes cards has these options.
    region = {f"identity_{name}": getattr(options, name, None) for name in ("timezone", "locale")}
    request = plan.Request(
        folder=path,
        cluster=path.name,
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
        region={name: value for name, value in region.items() if value},
    )
    return nodes, plan.plan(request)


def check_folder(folder: Path, option: str) -> None:
    """Refuse a folder that cannot be made because a file is in its way."""
    # A link to nothing is in the way, too.
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        what = "a file" if there.exists() else "a link to nothing"
        raise PiclusterError(f"{option} {folder} cannot be a directory: {there} is {what}")


def say_plan(report: Report, planned: plan.Plan) -> None:
    """Say which network the nodes are in, and what the plan noticed."""
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
        report.note(note)


def forget_host_keys(report: Report, planned: plan.Plan, burnt: Collection[str]) -> None:
    """Forget the host keys that new cards will not have, and say so."""
    if burnt and plan.forget_host_keys(planned.folder, burnt):
        report.note("the nodes of new cards will have new host keys, so the old ones were forgotten")


def say_inventory(report: Report, planned: plan.Plan, *, dry_run: bool) -> None:
    """Say which files of the inventory were written, or would be."""
    secret = [planned.folder / plan.SECRETS] if planned.make_secret else []
    _say_files(report, planned.folder, [*planned.writes, *secret], dry_run=dry_run)


def say_edit(report: Report, edit: Edit, *, dry_run: bool) -> None:
    """Say what an edit noticed, and which files of the inventory were written, or would be."""
    for note in edit.notes:
        report.note(note)
    _say_files(report, edit.folder, list(edit.writes), dry_run=dry_run)


def _say_files(report: Report, folder: Path, files: Sequence[Path], *, dry_run: bool) -> None:
    paths = [str(path) for path in files]
    verb = "would write" if dry_run else "wrote"
    text = f"{verb} {', '.join(paths)}" if paths else f"the inventory {folder} is up to date"
    report.say("inventory", text, folder=str(folder), files=paths, dry_run=dry_run)
