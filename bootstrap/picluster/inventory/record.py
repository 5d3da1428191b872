"""The record of how the cards of a cluster were burnt, kept with its inventory for burn --replace."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from picluster import firstboot
from picluster.errors import PiclusterError
from picluster.inventory import keys
from picluster.inventory.yamlfile import YamlFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

CARDS = "cards.yml"
_HEADER = "How the cards were burnt. picluster burn writes it, picluster burn --replace reads it."


@dataclass(frozen=True)
class Record:
    """How the cards of a cluster were last burnt.

    The image is as it was named, a file by its absolute path; what was not given is empty. The key of the Wi-Fi network
    is only on the cards.
    """

    image: str
    keys: tuple[str, ...]
    sha256: str = ""
    firstboot: str = ""
    wifi: str = ""
    wifi_hidden: bool = False
    country: str = ""
    timezone: str = ""
    locale: str = ""


def read(folder: Path) -> Record | None:
    """Return the record of a cluster, None if there is none."""
    path = folder / CARDS
    if not path.exists():
        return None
    data: dict[str, Any] = dict(YamlFile(path, _HEADER).data)
    known = {field.name for field in fields(Record)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise PiclusterError(f"{path}: {unknown[0]} is unknown: expected {', '.join(sorted(known))}")
    lines = data.pop("keys", None)
    if not isinstance(lines, list) or not lines or not all(isinstance(line, str) for line in lines):
        raise PiclusterError(f"{path}: keys must be a list of public keys")
    hidden = data.pop("wifi_hidden", False)
    if not isinstance(hidden, bool):
        raise PiclusterError(f"{path}: wifi_hidden must be true or false, got {hidden!r}")
    for name, value in data.items():
        if not isinstance(value, str):
            raise PiclusterError(f"{path}: {name} must be a string, got {value!r}")
    if not data.get("image"):
        raise PiclusterError(f"{path}: image must name the stock image")
    if data.get("firstboot") and data["firstboot"] not in firstboot.NAMES:
        raise PiclusterError(
            f"{path}: firstboot {str(data['firstboot'])!r} is unknown: expected one of {', '.join(firstboot.NAMES)}"
        )
    if not keys.parse_lines(lines, f"an entry of keys in {path}"):
        raise PiclusterError(f"{path}: keys must be a list of public keys")
    texts = {name: str(value) for name, value in data.items()}
    return Record(keys=tuple(map(str, lines)), wifi_hidden=hidden, **texts)


@contextmanager
def blamed(folder: Path, names: Collection[str]) -> Iterator[None]:
    """Make errors name the file of the record, not the option, for values that were read from it."""
    try:
        yield
    except PiclusterError as error:
        pattern = "|".join(map(re.escape, names))
        if not pattern:
            raise
        text = re.sub(rf"--({pattern})(?![\w-])", lambda match: f"the {match[1]} in {folder / CARDS},", str(error))
        raise PiclusterError(text) from error


def update(folder: Path, record: Record) -> tuple[bytes | None, list[str]]:
    """Return what becomes of the record of a cluster.

    Return the new contents of its file, None if it does not change, and the names of the values that differ from those
    of an existing record. Empty values are left out of the file.
    """
    file = YamlFile(folder / CARDS, _HEADER)
    now = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(record).items()}
    changed = [name for name, value in now.items() if (file.data.get(name) or None) != (value or None)]
    for name in changed:
        if now[name]:
            file.data[name] = now[name]
        else:
            del file.data[name]
    return file.changed(), [] if file.new else changed
