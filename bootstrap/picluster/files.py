"""Files of the inventory: YAML that keeps a user's comments and order, and writes that happen whole or not at all."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.tokens import CommentToken

from picluster.errors import PiclusterError


class YamlFile:
    """One YAML file of the inventory, edited in place with its comments.

    Attributes:
        path: Where it is.
        data: Its keys, to be changed.
        new: Whether it does not exist yet.
        notes: One sentence for each value that put() replaced.

    Args:
        path: Where it is.
        header: Comment at its head, if it is new.

    Raises:
        PiclusterError: if it is no YAML mapping.
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
            raise PiclusterError(f"{self.path} is not YAML{place}: {problem}; mend it first") from error
        except OSError as error:
            raise PiclusterError(f"{self.path} cannot be read: {error.strerror}") from error
        if loaded is None:
            loaded = CommentedMap()
        if not isinstance(loaded, CommentedMap):
            raise PiclusterError(f"{self.path} holds a {type(loaded).__name__}: it must be a mapping of keys")
        self.data = loaded

    def _dump(self) -> str:
        stream = io.StringIO()
        self._yaml.dump(self.data, stream)
        return stream.getvalue()

    def section(self, *keys: str) -> CommentedMap:
        """Return a mapping below these keys, made if it is missing or empty."""
        here = self.data
        for key in keys:
            below = here.get(key)
            if below is None:
                below = here[key] = CommentedMap()
            if not isinstance(below, CommentedMap):
                raise PiclusterError(f"{self.path}: {'.'.join(keys)} must be a mapping of keys")
            here = below
        return here

    def put(self, where: CommentedMap, key: str, value: object, label: str = "") -> None:
        """Set a value in this mapping of the file; note it if it replaces another."""
        old = where.get(key)
        if old == value:
            return
        if old is not None:
            self.notes.append(f"{self.path.name}: {label}{key} was {_shown(old)}, is now {_shown(value)}")
        if key not in where:
            _make_room(where, key)
        where[key] = value

    def changed(self) -> bytes | None:
        """Return the new contents, None if nothing was changed (then the user's layout stays to the byte)."""
        after = self._dump()
        return None if after == self._before else after.encode()


def _make_room(where: CommentedMap, key: str) -> None:
    """Let the comment lines below a mapping's last key stay below it when another key comes in between."""
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


def write_atomically(path: Path, contents: bytes) -> None:
    """Write a file by way of a temporary one beside it; the mode of an existing file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix="~")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(contents)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
