# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What Ansible cannot read in the files of an inventory, with file and line.

Ansible reports such a file after the guesses of its plugins for other formats, and often without its name.
"""

from __future__ import annotations

import difflib
import os
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.files import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The suffixes that Ansible reads as YAML; in group_vars and host_vars also files without one.
_READ = (".yml", ".yaml", ".json")
# Copies by editors and packages, and documents.
_NO_SETTINGS = re.compile(r"^\.|^#|~$|\.(bak|orig|old|save|swp|rej|md|rst|dpkg-\w+)$")
_SECTIONS = ("hosts", "children", "vars")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml is optional
    """Reads what Ansible reads; the values of its own tags do not matter."""


for _tag in ("!vault", "!vault-encrypted", "!unsafe"):
    _Loader.add_constructor(_tag, lambda _loader, _node: None)


class _WrongError(Exception):
    """The first problem of a file: its line, 0 if unknown, and a sentence."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def source_problem(path: Path) -> str | None:
    """Return what is wrong with a source of the inventory in YAML, None if it is valid or in another format."""
    if path.suffix not in _READ or os.access(path, os.X_OK):
        return None
    return _problem(path, is_source=True)


@cache
def folder_problems(folder: Path) -> tuple[str, ...]:
    """Return what is wrong beside an inventory's sources: in group_vars and host_vars, and with files' names."""
    return (*_vars_problems(folder), *_misnamed(folder))


def _vars_problems(folder: Path) -> Iterator[str]:
    for base in (folder / "group_vars", folder / "host_vars"):
        for path in sorted(path for path in base.rglob("*") if path.is_file()):
            if any(_NO_SETTINGS.search(part) for part in path.relative_to(base).parts):
                continue
            if path.suffix in ("", *_READ):
                problem = _problem(path, is_source=False)
                if problem:
                    yield problem
            else:
                yield _rename(path)


def _misnamed(folder: Path) -> Iterator[str]:
    """Yield the files that contain groups, but are not read because of a misspelt suffix or an added .txt."""
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        if path.suffix in _READ or not (suffix == ".txt" or difflib.get_close_matches(suffix, _READ, cutoff=0.7)):
            continue
        try:
            groups = _pairs(_parse(_text(path)))
        except (_WrongError, OSError):
            continue
        if groups and all(_is_mapping(value) for _name, value in groups):
            yield _rename(path)


def _rename(path: Path) -> str:
    plain = path.name.split(".", maxsplit=1)[0]
    return f"{Place(path)}: is not read because of its suffix {path.suffix}; rename it to {plain}.yml"


def _problem(path: Path, *, is_source: bool) -> str | None:
    try:
        text = _text(path)
        if not text.startswith("$ANSIBLE_VAULT"):
            root = _parse(text)
            (_check_source if is_source else _check_vars)(root)
    except _WrongError as wrong:
        return f"{Place(path, wrong.line)}: {wrong}"
    except OSError as error:
        return f"{Place(path)}: cannot be read: {error.strerror}"
    return None


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _WrongError(line, f"is not UTF-8: byte 0x{data[error.start]:02x}; save the file as UTF-8") from error


def _parse(text: str) -> yaml.Node | None:
    """Return the root; raise _WrongError if Ansible could not load the text."""
    loader = _Loader(text)
    try:
        root: yaml.Node | None = loader.get_single_node()
        # Before the construction, which merges keys of `<<` into the nodes.
        _check_duplicates(root, set())
        if root is not None:
            loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise _described(error, text.splitlines()) from error
    except (yaml.YAMLError, ValueError) as error:
        # A control character, or a date that does not exist.
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1 if hasattr(error, "position") else 0
        problem = str(getattr(error, "reason", error))
        raise _WrongError(line, f"is not valid YAML: {problem}; remove it, or put the value in quotes") from error
    return root


def _described(error: yaml.MarkedYAMLError, lines: list[str]) -> _WrongError:
    mark = error.problem_mark or error.context_mark
    number = min(mark.line + 1, len(lines)) if mark else 0
    line = lines[number - 1] if number else ""
    context = error.context or ""
    if "quoted scalar" in context and error.context_mark:
        return _WrongError(error.context_mark.line + 1, "a quote is opened and not closed; close it in the same line")
    if "\t" in line:
        return _WrongError(number, "contains a tab; indent with spaces")
    if re.search(r"[:-]\s+\{\{", line):
        return _WrongError(number, "a value that starts with {{ must be in quotes")
    problem = f"{context}, {error.problem}" if str(error.problem).startswith("but ") else error.problem
    return _WrongError(number, f"is not valid YAML: {problem}; correct this line or the one before it")


def _check_duplicates(node: Any, seen: set[int]) -> None:  # noqa: ANN401 - a node of any kind
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_duplicates(value, seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            line, name = _line(key), (key.tag, str(key.value))
            if name in lines:
                raise _WrongError(line, f"{key.value} is already set in line {lines[name]}; remove one of them")
            if isinstance(key, yaml.ScalarNode):
                lines[name] = line
            _check_duplicates(value, seen)


def _check_vars(root: yaml.Node | None) -> None:
    if root is not None and not _is_mapping(root):
        raise _WrongError(_line(root), f"must be variables such as k3s_optional: true, got {_kind(root)}")


def _check_source(root: yaml.Node | None) -> None:
    if root is None:
        raise _WrongError(0, "is empty; define groups such as all, or delete the file")
    if not isinstance(root, yaml.MappingNode):
        raise _WrongError(_line(root), f"must be a mapping of groups, got {_kind(root)}")
    if all(key.value != "plugin" for key, _value in root.value):  # the settings of an inventory plugin
        for key, value in root.value:
            _check_group(str(key.value), value)


def _check_group(name: str, group: Any) -> None:  # noqa: ANN401 - a node of any kind
    if not _is_mapping(group):
        raise _WrongError(
            _line(group), f"the group {name} must be a mapping with {', '.join(_SECTIONS)}, got {_kind(group)}"
        )
    for key, section in _pairs(group):
        # Ansible accepts the name of a single host or group.
        if key not in _SECTIONS or _is_mapping(section) or (key != "vars" and isinstance(section, yaml.ScalarNode)):
            for child, below in _pairs(section) if key == "children" else ():
                _check_group(child, below)
            continue
        raise _WrongError(_line(section), f"{key} of {name} must be a mapping such as `red1:`, got {_kind(section)}")


def _pairs(node: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - a node of any kind
    return [(str(key.value), value) for key, value in node.value] if isinstance(node, yaml.MappingNode) else []


def _is_mapping(node: Any) -> bool:  # noqa: ANN401 - a node of any kind
    """Return whether a node is a mapping or nothing."""
    return isinstance(node, yaml.MappingNode) or (node is not None and node.tag == "tag:yaml.org,2002:null")


def _kind(node: yaml.Node) -> str:
    # Not its value: the file may contain nothing but a secret.
    return "a list" if isinstance(node, yaml.SequenceNode) else "a string"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
