# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Where in the inventory's files something is written, so that a message can name file and line.

Read only when there is a problem to report. Ansible's own record of a value's origin is not a public interface.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_YAML_NAMES = {"", ".yml", ".yaml", ".json"}


@dataclass(frozen=True)
class Place:
    """A line of a file; with line 0 only the file is known."""

    path: Path
    line: int = 0

    def __str__(self) -> str:
        try:
            shown = self.path.resolve().relative_to(Path.cwd().resolve())
        except ValueError:
            shown = self.path
        return f"{shown}:{self.line}" if self.line else str(shown)


@dataclass(frozen=True)
class _Entry:
    """An entry of a file: a variable (`key`), a host of a group (`member`), or the group itself (neither)."""

    place: Place
    scope: str
    key: str = ""
    member: str = ""


def _pairs(node: yaml.Node | None) -> Iterator[tuple[str, int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), key.start_mark.line + 1, value


def _variables(path: Path, scope: str, node: yaml.Node | None) -> Iterator[_Entry]:
    for key, line, _value in _pairs(node):
        yield _Entry(Place(path, line), scope, key=key)


def _group(path: Path, name: str, line: int, node: yaml.Node) -> Iterator[_Entry]:
    yield _Entry(Place(path, line), f"group {name}")
    for section, _line, below in _pairs(node):
        if section == "vars":
            yield from _variables(path, f"group {name}", below)
        for key, where, value in _pairs(below):
            if section == "hosts":
                yield _Entry(Place(path, where), f"group {name}", member=key)
                yield from _variables(path, f"host {key}", value)
            elif section == "children":
                yield from _group(path, key, where, value)


def _compose(path: Path) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        return None
    return node


def _vars_folder(folder: Path, kind: str) -> Iterator[_Entry]:
    """Yield the variables of group_vars or host_vars; `kind` is group or host."""
    base = folder / f"{kind}_vars"
    for path in sorted(p for p in base.rglob("*") if p.is_file() and p.suffix in _YAML_NAMES):
        first = path.relative_to(base).parts[0]
        scope = f"{kind} {first if (base / first).is_dir() else Path(first).stem}"
        yield _Entry(Place(path), scope)
        yield from _variables(path, scope, _compose(path))


class InventoryFiles:
    """The files of the inventory's sources, the arguments of `-i`: directories or files."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = [Path(source) for source in sources if "," not in source and Path(source).exists()]
        self._entries: list[_Entry] | None = None

    def folders(self) -> list[Path]:
        """Return the directories that group_vars can be in."""
        return [source if source.is_dir() else source.parent for source in self._sources]

    def _files(self) -> Iterator[Path]:
        for source in self._sources:
            yield from sorted(p for p in source.iterdir() if p.is_file()) if source.is_dir() else [source]

    def _read(self) -> list[_Entry]:
        if self._entries is None:
            self._entries = []
            for path in self._files():
                if path.suffix in _YAML_NAMES and not os.access(path, os.X_OK):
                    for name, line, node in _pairs(_compose(path)):
                        self._entries += _group(path, name, line, node)
            # Later entries win, as in Ansible: files beside the inventory override its inline variables.
            for folder in self.folders():
                self._entries += [*_vars_folder(folder, "group"), *_vars_folder(folder, "host")]
        return self._entries

    def variable(self, key: str, host: str, groups: Sequence[str]) -> Place | None:
        """Return where the variable `key` of `host` is set, or None if it is in none of the files.

        The host's groups are given with the most specific first.
        """
        for scope in (f"host {host}", *(f"group {name}" for name in groups), "group all"):
            found = [entry.place for entry in self._read() if entry.scope == scope and entry.key == key]
            if found:
                return found[-1]
        return self._in_text(key)

    def _in_text(self, key: str) -> Place | None:
        """Return where a source in INI format sets `key`, searched as text."""
        assignment = re.compile(rf"(^|\s){re.escape(key)}\s*=")
        for path in self._files():
            if path.suffix not in _YAML_NAMES - {""}:
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                        if assignment.search(line):
                            return Place(path, number)
        return None

    def member(self, host: str, group: str) -> Place | None:
        """Return where `host` is added to `group`; for a member of a child group, where `group` is defined."""
        entries = [entry for entry in self._read() if entry.scope == f"group {group}" and not entry.key]
        own = [entry.place for entry in entries if entry.member == host]
        return next(reversed(own or [entry.place for entry in entries]), None)

    def members(self) -> list[tuple[str, str]]:
        """Return the hosts as they are written in YAML, each with a group that it is added to."""
        entries = [entry for entry in self._read() if entry.member]
        return list({entry.member: entry.scope.removeprefix("group ") for entry in entries}.items())

    def vars_names(self, kind: str) -> Iterator[tuple[str, str]]:
        """Yield whose variables are in host_vars or group_vars (`kind`: host or group), with the file or folder."""
        for base in (folder / f"{kind}_vars" for folder in self.folders()):
            for path in sorted(base.iterdir()) if base.is_dir() else ():
                if not path.name.startswith(".") and (path.is_dir() or path.suffix in _YAML_NAMES):
                    yield path.name if path.is_dir() else path.stem, f"{base.name}/{path.name}"

    def group(self, group: str) -> Place | None:
        """Return where a group is defined."""
        return next((e.place for e in self._read() if e.scope == f"group {group}" and not e.key and not e.member), None)

    def file(self, name: str) -> Place:
        """Return the place of a file by its path below the inventory's directory, whether it exists or not."""
        folders = self.folders() or [Path()]
        return Place(next((folder / name for folder in folders if (folder / name).exists()), folders[0] / name))
