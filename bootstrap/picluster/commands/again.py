"""The command that burns failed cards again, safe to paste into a shell.

It names only the remaining nodes and only readers without a good card, and never has --yes, so that a person confirms
what the cards hold by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from picluster import shell
from picluster.commands.nodes import DEFAULT_INVENTORIES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

# What neither the inventory nor the record of the cards keeps, or what says where they are.
_KEPT = ("cluster", "inventories", "wifi", "wifi_passphrase_file", "catalogue", "bmap", "no_bmap", "no_verify", "json")


def parse_kept(options: argparse.Namespace) -> list[str]:
    """Return the words of those options of picluster burn that a further burn needs again."""
    return [word for name in _KEPT for word in _words(name, getattr(options, name))]


def command(program: str, names: Sequence[str], kept: Iterable[str], places: Iterable[tuple[str, str]]) -> str:
    """Return the command that burns the cards of these nodes again.

    The program is as it was typed, "picluster burn" or "cm-burn"; ``kept`` comes from parse_kept(), and ``places``,
    where their cards go, from Places.left().
    """
    where = [word for name, value in places for word in _words(name, value)]
    return shell.join([*program.split(), "--name", ",".join(names), "--replace", *kept, *where])


def _words(name: str, value: object) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if value in (None, False, [], "") or (name == "inventories" and value == DEFAULT_INVENTORIES):
        return []
    if value is True:
        return [option]
    # A value that begins with a dash would be taken for an option, if it stood alone.
    return [
        word
        for one in (value if isinstance(value, list) else [value])
        for word in ([f"{option}={one}"] if str(one).startswith("-") else [option, str(one)])
    ]
