"""Options that name nodes, their network and their inventory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from picluster.commands import add_dry_run, add_json
from picluster.commands import path as a_path
from picluster.files import check_folder
from picluster.inventory import keys, names, plan

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

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


def add_key(parser: Options) -> None:
    """Add --key."""
    parser.add_argument(
        "--key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="public SSH key that may log in; can be repeated",
    )


def add_nodes(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the nodes and describe their network."""
    parser.add_argument("--name", required=True, metavar="RANGE", help="nodes, such as red[5-7] or red[001-200]")
    parser.add_argument(
        "--ips",
        metavar="RANGE",
        help="their addresses in the same order, such as 192.168.1.[5-7] (default: those in the inventory)",
    )
    parser.add_argument("--cluster", help="name of the cluster (default: the common beginning of the node names)")
    parser.add_argument("--prefix", type=int, help="prefix length of the network (default: 24)")
    parser.add_argument("--gateway", help="address of the router (default: the first address of the network)")
    parser.add_argument(
        "--dns", action="append", default=[], help="name server; can be repeated (default: the gateway)"
    )
    parser.add_argument("--user", help="user that logs in and may use sudo (default: pi)")
    parser.add_argument(
        "--arch", choices=plan.ARCHS, help="architecture of the nodes (default: guessed from the image)"
    )
    add_inventories(parser)
    add_dry_run(parser)
    add_json(parser)


def parse_nodes(options: argparse.Namespace) -> plan.InventoryRequest:
    """Return the request to the inventory.

    Args:
        options: Of add_nodes() and add_key(); those of identity.add_identity() are optional.

    Raises:
        PiclusterError: if a value is wrong.
    """
    nodes = names.expand_names(options.name)
    check_folder(options.inventories, "--inventories")
    folder = parse_folder(options, nodes)
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


def parse_folder(options: argparse.Namespace, nodes: Sequence[str]) -> Path:
    """Return the directory of the cluster's inventory, which may not exist yet.

    Raises:
        PiclusterError: if the names have no common beginning, or it cannot be the name of a directory.
    """
    given: str | None = options.cluster
    inventories: Path = options.inventories
    return inventories / (names.cluster_of(nodes) if given is None else names.check_cluster_name(given))
