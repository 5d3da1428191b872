"""Commands for the tests, run in the directory of the fixture bench."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from picluster import cli
from picluster.cards.image import read_tree

if TYPE_CHECKING:
    from pathlib import Path


def burn(*more: str, names: str = "red[1-3]", ips: str = "192.168.63.[11-13]") -> int:
    return cli.main(["burn", "--name", names, "--key", "key.pub", "--ips", ips, "--image", "card.img", *more])


def host_name(card: Path) -> str:
    return str(yaml.safe_load(read_tree(card)["meta-data"])["local-hostname"])
