"""The lab's use of the real bootstrap: burn a card per node, read a card's boot partition."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.state import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.addresses import LabNet
    from lab.nodes import Node

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def host_architecture() -> str:
    """Debian's name of this machine's architecture.

    Raises:
        LabError: the lab knows none for it.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise LabError(f"The lab runs on {' and '.join(ARCHITECTURES)}, not on {machine}.")
    return ARCHITECTURES[machine]


def make_key(private: Path) -> Path:
    """Have the lab's ssh key; return its public half."""
    public = private.with_name(private.name + ".pub")
    if not (private.exists() and public.exists()):
        private.unlink(missing_ok=True)
        comment = "picluster-lab"
        _run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(private)],
            "The key could not be made",
        )
    return public


@dataclass(frozen=True)
class Burning:
    """What all cards of a lab have in common."""

    cluster: str
    key: Path
    cards: Path
    net: LabNet
    inventories: Path


def write_inventory(nodes: Sequence[Node], common: Burning) -> None:
    """Write the inventory of all nodes, by the real command: so that their order, not their images, says who leads."""
    _picluster("inventory", nodes, common, {}, "The inventory could not be written")


def burn(nodes: Sequence[Node], image: Path, common: Burning) -> None:
    """Burn the cards of nodes that share an image, by the real command."""
    options = {"--image": str(image), "--output": str(common.cards)}
    _picluster("burn", nodes, common, options, "The cards could not be burnt", "--yes")


def _picluster(
    command: str, nodes: Sequence[Node], common: Burning, more: dict[str, str], failed: str, *flags: str
) -> None:
    options = {
        "--cluster": common.cluster,
        "--name": ",".join(node.name for node in nodes),
        "--ips": ",".join(node.address for node in nodes),
        "--key": str(common.key),
        "--gateway": common.net.gateway,
        "--arch": host_architecture(),
        "--inventories": str(common.inventories),
        **more,
    }
    words = [*(word for pair in options.items() for word in pair), *flags]
    path = os.pathsep.join([str(ROOT / "bootstrap"), *filter(None, [os.environ.get("PYTHONPATH")])])
    _run([sys.executable, "-m", "picluster", command, *words], failed, env={**os.environ, "PYTHONPATH": path})


def card_of(cards: Path, node: str) -> Path:
    """The card image of a node."""
    return cards / f"{node}.img"


def unpack_boot(card: Path, folder: Path) -> None:
    """Put the files of a card's FAT partition into a folder, which is complete or not there."""
    from picluster.cards.image import read_tree  # noqa: PLC0415
    from picluster.errors import PiclusterError  # noqa: PLC0415 - lets `lab down` work in a tree without it

    try:
        tree = read_tree(card)
    except (OSError, PiclusterError) as error:
        raise LabError(f"The card {card} cannot be read: {error}") from error
    unfinished = folder.with_name(folder.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, content in tree.items():
        path = unfinished / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    # Mounted FAT shows all files like this on a board.
    unfinished.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.replace(folder)


def _run(command: list[str], failed: str, env: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise LabError(f"{failed}: there is no {command[0]}; molecule/lab/host-setup installs it.") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise LabError(f"{failed}: {said[-1] if said else f'exit code {done.returncode}'}")
