"""The architecture of the bootstrap: allowed imports, no import circles, one class of each name, short files."""

from __future__ import annotations

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "picluster"
CODE_MAX, TESTS_MAX = 400, 600
# What every room may import: it knows no subject.
KIT = frozenset({"errors", "files", "cache", "shell"})
# What a room may import besides the kit and itself, and why.
ALLOWED = {
    "errors": (set(), "the kit's base"),
    "files": (set(), "writes files, whatever is in them"),
    "cache": (set(), "knows a folder, not what is in it"),
    "shell": (set(), "quotes words, whatever they mean"),
    "cards": (set(), "bytes on cards: no generation, no disk of this machine, no inventory"),
    "devices": ({"cards"}, "a disk is what a card is written to (cards.target)"),
    "firstboot": ({"cards"}, "a generation is recognised by the boot partition's files (cards.bootfiles)"),
    "console": (set(), "shows what it is given"),
    "images": ({"cards", "console"}, "finds image files (cards.image), and shows how a download goes"),
    "inventory": ({"firstboot"}, "the record of a burn names the way of the first boot"),
    "discover": ({"inventory"}, "looks for the nodes of an inventory"),
    "commands": (
        {"cards", "devices", "firstboot", "console", "images", "inventory", "discover"},
        "brings the rooms together",
    ),
    "cli": ({"commands", "console", "inventory"}, "the programs: parse, run a command, report its error"),
    "__main__": ({"cli"}, "python -m picluster"),
}


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}


def _imports(module: str) -> set[str]:
    """Return the modules of ours that a module imports, anywhere in it and for type checking too."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # A name of a package is one of its modules, or something in its __init__.
            found |= {name if name in MODULES else node.module or "" for name in names}
    return {name for name in found if name in MODULES}


IMPORTS = {module: _imports(module) for module in MODULES}


def _room(module: str) -> str:
    return [*module.split("."), ""][1]


def test_no_modules_import_each_other() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(f"an import circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("module", [module for module in MODULES if module != "picluster"])
def test_a_module_imports_only_rooms_that_its_room_may_know(module: str) -> None:
    room = _room(module)
    allowed, why = ALLOWED[room]
    known = {_room(name) for name in IMPORTS[module]}
    assert known <= KIT | allowed | {room}, f"{room}: {why}"


def test_every_room_is_in_the_table_and_every_permission_is_used() -> None:
    assert set(ALLOWED) == {_room(module) for module in MODULES} - {""}
    for room, (allowed, _) in ALLOWED.items():
        used = {_room(name) for module in MODULES if _room(module) == room for name in IMPORTS[module]}
        assert allowed <= used, room


def test_a_class_name_means_one_class() -> None:
    """A leading underscore makes no other name of it."""
    found: dict[str, list[str]] = defaultdict(list)
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name.lstrip("_")].append(module)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


def test_only_parsing_functions_see_raw_options() -> None:
    """All others get a typed request."""
    found = [
        f"{module}.{function.name}"
        for module, tree in TREES.items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and "Namespace" in ast.unparse(function.args)
        and not function.name.lstrip("_").startswith("parse")
    ]
    assert found == []


@pytest.mark.parametrize("path", [*MODULES.values(), *sorted(TESTS.rglob("*.py"))], ids=lambda path: path.name)
def test_a_file_is_short_enough_to_be_read(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines < (TESTS_MAX if path.is_relative_to(TESTS) else CODE_MAX), f"{path} has {lines} lines"
