"""Catalogues: which image a short name means, from a file of ours, the user's own, or one given on the command line."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields
from datetime import date
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import platformdirs
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from picluster.errors import PiclusterError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,99}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_ARCHS = ("arm64", "armhf")
# Lengths of RFC 1035, 2.3.4; the underscore is no letter of a host name, but local names have it.
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_HOST_MAX = 253


@dataclass(frozen=True)
class Entry:
    """One image of a catalogue.

    What is not said or not known is empty or None; sha256 and size are those of the file behind the URL, ``bmap`` is
    the URL of its block map. ``sources`` are public files that name the URL, and the sha256 if there is one.
    """

    name: str
    url: str
    aliases: tuple[str, ...] = ()
    generation: str = ""
    arch: str = ""
    released: str = ""
    sha256: str | None = None
    size: int | None = None
    bmap: str | None = None
    sources: tuple[str, ...] = ()


_KEYS = tuple(field.name for field in fields(Entry))


def user_file() -> Path:
    """Where a site's own catalogue is looked for."""
    return platformdirs.user_config_path("picluster", appauthor=False) / "images.yml"


def load(given: Sequence[Path], generations: Sequence[str]) -> list[list[Entry]]:
    """Read all catalogues in order of precedence: the given ones, the user's, the shipped one.

    ``generations`` are the names that an entry's generation may have; errors name file and key.
    """
    own = user_file()
    paths = [*given, *([own] if own.exists() else [])]
    return [*(_read(path, generations) for path in paths), shipped(generations)]


def shipped(generations: Sequence[str]) -> list[Entry]:
    """Read the catalogue that comes with picluster."""
    name = "data/images.yml"
    return parse(files("picluster").joinpath(name).read_text(encoding="utf-8"), name, generations)


def _read(path: Path, generations: Sequence[str]) -> list[Entry]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PiclusterError(
            f"the catalogue {path} is not UTF-8 text: byte {error.start} is wrong; convert it to UTF-8"
        ) from error
    except OSError as error:
        raise PiclusterError(f"the catalogue {path} cannot be read: {error.strerror or error}") from error
    return parse(text, str(path), generations)


def parse(text: str, source: str, generations: Sequence[str]) -> list[Entry]:
    """Read one catalogue: YAML, a list below the key ``images``; errors name the source, its file, and the key."""
    try:
        # The safe loader makes no objects; other than PyYAML's it refuses a key that stands there twice.
        data = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise PiclusterError(f"{source} is not YAML{place}: {problem}") from error
    if not isinstance(data, dict) or set(data) != {"images"} or not isinstance(data["images"], list):
        raise PiclusterError(f"{source}: expected the key images with a list, got {_shown(data)}")
    entries = [_Item(item, source, number).entry(generations) for number, item in enumerate(data["images"], 1)]
    owners: dict[str, str] = {}
    for entry in entries:
        for name in (entry.name, *entry.aliases):
            if name.lower() in owners:
                raise PiclusterError(f"{source}: {name} names both {owners[name.lower()]} and {entry.name}")
            owners[name.lower()] = entry.name
    return entries


def _shown(data: object) -> str:
    """Return what a file holds instead of a catalogue, for a message."""
    if not isinstance(data, dict):
        return shown(data)
    if set(data) == {"images"}:
        return f"{shown(data['images'])} below images"
    return f"the keys {', '.join(map(str, data))}" if data else "no key"


class _Item:
    """One item of the list, its values checked as they are asked for."""

    def __init__(self, item: object, source: str, number: int) -> None:
        self._where = f"{source}: image {number}"
        if not isinstance(item, dict):
            raise self._wrong("it", "is not a mapping of keys")
        self._item: dict[Any, Any] = item
        if isinstance(item.get("name"), str):
            self._where = f"{source}: image {item['name']!r}"
        for key in item:
            if key not in _KEYS:
                near = difflib.get_close_matches(str(key), _KEYS, 1)
                hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(_KEYS)}"
                raise PiclusterError(f"{self._where}: unknown key {key!r}; {hint}")

    def _wrong(self, key: str, what: str) -> PiclusterError:
        return PiclusterError(f"{self._where}: {key} {what}")

    def entry(self, generations: Sequence[str]) -> Entry:
        sha256 = self._text("sha256", _SHA256, "64 hexadecimal digits")
        return Entry(
            name=self._name("name", self._item.get("name")),
            url=self._url("url", plain=bool(sha256)),
            aliases=tuple(self._name("aliases", alias) for alias in self._list("aliases")),
            generation=self._choice("generation", generations),
            arch=self._choice("arch", _ARCHS),
            released=self._date("released"),
            sha256=sha256.lower() or None,
            size=self._size("size"),
            bmap=self._url("bmap", plain=False) if "bmap" in self._item else None,
            sources=tuple(self._list("sources")),
        )

    def _text(self, key: str, pattern: re.Pattern[str], wanted: str) -> str:
        value = self._item.get(key)
        if value is None:
            return ""
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self._wrong(f"{key} {str(value)[:80]!r}", f"is not {wanted}")
        return value

    def _name(self, key: str, value: object) -> str:
        if isinstance(value, str) and _NAME.fullmatch(value):
            return value
        hint = "" if isinstance(value, str | None) else ": put it in quotes, so that YAML takes it for text"
        raise self._wrong(f"{key} {value!r}", f"is not a name of letters, digits, dots and hyphens{hint}")

    def _url(self, key: str, *, plain: bool) -> str:
        value = self._item.get(key)
        if not isinstance(value, str):
            raise self._wrong(f"{key} {value!r}", "is not a URL")
        try:
            check_url(value, plain=plain)
        except PiclusterError as error:
            raise self._wrong(key, str(error)) from error
        return value

    def _choice(self, key: str, known: Sequence[str]) -> str:
        value = self._item.get(key)
        if value is not None and value not in known:
            raise self._wrong(f"{key} {value!r}", f"is none of {', '.join(known)}")
        return value or ""

    def _date(self, key: str) -> str:
        value = self._item.get(key)
        if value is None:
            return ""
        try:
            return (value if isinstance(value, date) else date.fromisoformat(value)).isoformat()[:10]
        except (TypeError, ValueError) as error:
            raise self._wrong(f"{key} {value!r}", "is not a date like 2026-06-18") from error

    def _size(self, key: str) -> int | None:
        value = self._item.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self._wrong(f"{key} {value!r}", "is not a number of bytes")
        return value

    def _list(self, key: str) -> list[str]:
        value = self._item.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._wrong(f"{key} {value!r}", "is not a list of texts: [one, two]")
        return value


def check_url(url: str, *, plain: bool) -> None:
    """Refuse what is no address of a file that can be fetched and trusted.

    With ``plain`` http without TLS will do, because a SHA-256 from elsewhere is known.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise PiclusterError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host or port == 0 or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise PiclusterError(f"{url!r} is not a URL like https://example.org/card.img.xz")
    if not url.isascii():
        raise PiclusterError(f"{url!r} is not all ASCII: write it percent-encoded, and its host as xn--...")
    if not _is_host(host):
        raise PiclusterError(f"{host[:80]!r} in the URL is not a valid host name or address; correct it")
    if parts.username is not None or parts.password is not None:
        raise PiclusterError(f"the URL of {host} holds a user name or password: these would end in logs and records")
    if not file_name(url):
        raise PiclusterError(f"{url!r} does not end in the name of a file")
    if parts.scheme == "http" and not plain:
        raise PiclusterError(f"{url} is http, which can be modified in transit: use https, or give its SHA-256")


def _is_host(host: str) -> bool:
    # urlsplit() looked at those in brackets, which alone have a colon.
    name = host.removesuffix(".")
    return ":" in host or (len(name) <= _HOST_MAX and all(map(_LABEL.fullmatch, name.split("."))))


def file_name(url: str) -> str:
    """Return the name of the file that a URL ends in, safe to be one here; empty if there is none."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    return re.sub(r"[^A-Za-z0-9.+_-]", "_", name).lstrip(".")[:150]


def find(name: str, catalogues: Iterable[Iterable[Entry]]) -> Entry:
    """Look a name up; the first catalogue that knows it wins, letter case does not matter."""
    known: list[str] = []
    for catalogue in catalogues:
        for entry in catalogue:
            names = (entry.name, *entry.aliases)
            if name.lower() in (one.lower() for one in (*names, file_name(entry.url))):
                return entry
            known += names
    near = difflib.get_close_matches(name.lower(), dict.fromkeys(known), 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "picluster images list shows the names"
    raise PiclusterError(f"no image is named {name}; {hint}")
