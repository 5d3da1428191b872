"""Options that name nodes, their network and their inventory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from picluster.commands import add_dry_run, add_json, number
from picluster.commands import path as a_path
from picluster.files import check_folder
from picluster.inventory import keys, names, plan

if TYPE_CHECKING:
    import argparse

    from picluster.commands import Options

DEFAULT_INVENTORIES = Path("inventories")


def add_inventories(parser: Options) -> None:
    """Add --inventories."""
    parser.add_argument(
        "--inventories",
        type=a_path,
        default=DEFAULT_INVENTORIES,
        metavar="DIR",
        help="directory with one inventory for each cluster (default: %(default)s)",
    )


def add_nodes(parser: argparse.ArgumentParser, *, arch: str = "guessed from the image", key: str = "") -> None:
    """Add the options that name the nodes and describe their network.

    Args:
        parser: Of the command.
        arch: The default of --arch if the inventory has none, for its help.
        key: When --key is required, for its help.
    """
    group = parser.add_argument_group("nodes")
    group.add_argument("--name", required=True, metavar="RANGE", help="names, such as red[5-7] or red[001-200]")
    group.add_argument(
        "--ips",
        metavar="RANGE",
        help="addresses in the same order, such as 192.168.1.[5-7] (default: those in the inventory)",
    )
    group.add_argument(
        "--cluster", metavar="NAME", help="name of the cluster (default: the common beginning of the names)"
    )
    group.add_argument(
        "--prefix",
        type=number("--prefix", int, f"{names.MIN_PREFIX} to {names.MAX_PREFIX}"),
        metavar="BITS",
        help="prefix length of the network (default: that of the inventory, or 24)",
    )
    group.add_argument("--gateway", metavar="ADDRESS", help="router (default: the first address of the network)")
    group.add_argument(
        "--dns",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="name server; can be repeated (default: the gateway)",
    )
    group.add_argument("--user", metavar="NAME", help="user that logs in and may use sudo (default: pi)")
    group.add_argument("--arch", choices=plan.ARCHS, help=f"architecture (default: that of the inventory, or {arch})")
    group.add_argument(
        "--key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"public SSH key that may log in; can be repeated{key}",
    )
    add_inventories(group)
    add_dry_run(parser)
    add_json(parser)


def parse_nodes(options: argparse.Namespace) -> plan.InventoryRequest:
    """Return the request to the inventory; the options of identity.add_identity() may be missing."""
    nodes = names.expand_names(options.name)
    given: str | None = options.cluster
    folder = options.inventories / (names.cluster_of(nodes) if given is None else names.check_cluster_name(given))
    check_folder(folder, "--inventories")
    # Only the commands that make cards have these options.
    region = {f"identity_{name}": getattr(options, name, None) for name in ("timezone", "locale")}
    return plan.InventoryRequest(
        folder=folder,
        names=nodes,
        addresses=None if options.ips is None else names.pair(nodes, names.expand_addresses(options.ips)),
        prefix=options.prefix,
        gateway=options.gateway,
        dns=options.dns,
        user=None if options.user is None else names.check_user(options.user),
        arch=options.arch,
        private_key=keys.private_half(options.key, Path.home()),
        region={name: value for name, value in region.items() if value},
    )
