"""YAML files of the inventory: edited in place, with the user's comments and order."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.tokens import CommentToken

from picluster.errors import PiclusterError, shown

if TYPE_CHECKING:
    from pathlib import Path


class YamlFile:
    """One YAML file of the inventory, edited in place with its comments.

    ``data`` may be edited; ``notes`` has a sentence for each value that put() replaced. The header becomes the first
    comment of a new file.
    """

    def __init__(self, path: Path, header: str) -> None:
        self.path = path
        self._yaml = YAML()
        self._yaml.width = 1 << 16
        self._yaml.preserve_quotes = True
        self._yaml.explicit_start = True
        self._yaml.indent(mapping=2, sequence=4, offset=2)
        self.data = CommentedMap()
        self.notes: list[str] = []
        self.new = not path.exists()
        if self.new:
            self.data.yaml_set_start_comment(header)
        else:
            self._load()
        self._before = None if self.new else self._dump()

    def _load(self) -> None:
        try:
            loaded = self._yaml.load(self.path.read_text(encoding="utf-8"))
        except (YAMLError, UnicodeDecodeError) as error:
            first = str(error).splitlines()[0]
            mark = getattr(error, "problem_mark", None)
            place = f" in line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or first
            raise PiclusterError(f"{self.path} is not valid YAML{place}: {problem}; correct it first") from error
        except OSError as error:
            raise PiclusterError(f"{self.path} cannot be read: {error.strerror}; check the file") from error
        if loaded is None:
            loaded = CommentedMap()
        if not isinstance(loaded, CommentedMap):
            raise PiclusterError(f"{self.path} must be a mapping, got {shown(loaded)}; correct it first")
        self.data = loaded

    def _dump(self) -> str:
        stream = io.StringIO()
        self._yaml.dump(self.data, stream)
        return stream.getvalue()

    def section(self, *keys: str) -> CommentedMap:
        """Return the mapping below these keys; create it if it is missing or empty."""
        here = self.data
        for key in keys:
            below = here.get(key)
            if below is None:
                below = here[key] = CommentedMap()
            if not isinstance(below, CommentedMap):
                raise PiclusterError(f"{self.path}: {'.'.join(keys)} must be a mapping, got {shown(below)}")
            here = below
        return here

    def put(self, where: CommentedMap, key: str, value: object, label: str = "") -> None:
        """Set a value in a mapping of the file; add a note if it replaces another."""
        old = where.get(key)
        if old == value:
            return
        if old is not None:
            self.notes.append(f"{self.path.name}: {label}{key} was {_shown(old)}, is now {_shown(value)}")
        if key not in where:
            _make_room(where, key)
        where[key] = value

    def changed(self) -> bytes | None:
        """Return the new contents, None if nothing was changed (so the layout of the user stays to the byte)."""
        after = self._dump()
        return None if after == self._before else after.encode()


def _make_room(where: CommentedMap, key: str) -> None:
    """Keep the comment lines below the last key of a mapping at its end when a key is appended."""
    last = next(reversed(where), None)
    slots = where.ca.items.get(last) if last is not None else None
    beside = slots[2] if slots else None
    if slots is None or beside is None or "\n" not in beside.value.rstrip("\n"):
        return
    first, rest = beside.value.split("\n", 1)
    slots[2] = CommentToken(first + "\n", beside.start_mark, None) if first else None
    where.ca.items[key] = [None, None, CommentToken("\n" + rest, beside.start_mark, None), None]


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
