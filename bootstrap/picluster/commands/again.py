"""The command that burns again what was not burnt, ready to be pasted into a shell.

Pasting it must not cost a good card: it names only the nodes that are left and only readers that hold no good card, and
it never has --yes, so that a person confirms what a card holds by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from picluster import shell
from picluster.commands import planning

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

# What neither the inventory nor its record of the cards keeps, or what says where they are; the others are read there.
_KEPT = (
    "cluster",
    "inventories",
    "wifi",
    "wifi_passphrase_file",
    "catalogue",
    "bmap",
    "no_bmap",
    "no_verify",
    "json",
)


def command(options: argparse.Namespace, names: Sequence[str], places: Sequence[tuple[str, str]]) -> str:
    """Return the command that burns these nodes' cards again, with the options that were given.

    Args:
        options: Of picluster burn.
        names: Those that were not burnt.
        places: Where their cards go: options and their values, as Places.left() has them.
    """
    words = [*options.program.split(), "--name", ",".join(names), "--replace"]
    for name in _KEPT:
        words += _words(name, getattr(options, name))
    for name, value in places:
        words += _words(name, value)
    return shell.join(words)


def _words(name: str, value: object) -> Iterable[str]:
    option = f"--{name.replace('_', '-')}"
    if value in (None, False, [], "") or (name == "inventories" and value == planning.DEFAULT_INVENTORIES):
        return []
    if value is True:
        return [option]
    # A value that begins with a dash would be taken for an option, if it stood alone.
    return [
        word
        for one in (value if isinstance(value, list) else [value])
        for word in ([f"{option}={one}"] if str(one).startswith("-") else [option, str(one)])
    ]
