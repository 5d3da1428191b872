"""What a cluster's cards were burnt with, kept beside its inventory, so that one card can be burnt again alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError
from picluster.files import YamlFile

if TYPE_CHECKING:
    from pathlib import Path

CARDS = "cards.yml"
_HEADER = "What the cards were burnt with. picluster burn writes it, picluster burn --replace reads it."


@dataclass(frozen=True)
class Record:
    """How the cards of a cluster were last burnt.

    Attributes:
        image: As it was named; a file by its absolute path.
        keys: Public keys, one line each.
        sha256: Of the image file, if it was given.
        firstboot: The way of the first boot, if it was given.
        wifi: Name of the network; its key is kept on the cards only.
        country: Of the radio.
        timezone: Of the clock.
        locale: Of the system.
    """

    image: str
    keys: tuple[str, ...]
    sha256: str = ""
    firstboot: str = ""
    wifi: str = ""
    country: str = ""
    timezone: str = ""
    locale: str = ""


def read(folder: Path) -> Record:
    """Read the record of a cluster.

    Raises:
        PiclusterError: if there is none, or it cannot be used.
    """
    path = folder / CARDS
    if not path.exists():
        raise PiclusterError(
            f"there is no {path}, so nobody knows what the cards were burnt with: give --image and --key"
        )
    data = dict(YamlFile(path, _HEADER).data)
    known = {field.name for field in fields(Record)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise PiclusterError(f"{path}: {unknown[0]} is not known (known are {', '.join(sorted(known))})")
    keys = data.pop("keys", None)
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise PiclusterError(f"{path}: keys must be a list of public keys")
    for name, value in data.items():
        if not isinstance(value, str):
            raise PiclusterError(f"{path}: {name} must be text, not {value!r}")
    if not data.get("image"):
        raise PiclusterError(f"{path}: image must name the stock image")
    return Record(keys=tuple(map(str, keys)), **{name: str(value) for name, value in data.items()})


def contents(folder: Path, record: Record) -> bytes | None:
    """Return the new contents of a cluster's record, None if it stays; what is empty is left out."""
    file = YamlFile(folder / CARDS, _HEADER)
    for name, value in asdict(record).items():
        if value:
            file.data[name] = list(value) if isinstance(value, tuple) else value
        else:
            file.data.pop(name, None)
    return file.changed()
