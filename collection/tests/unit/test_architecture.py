"""A subject has one room: what its files may import, how long they are, and that no name stands for two things."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

UNIT = Path(__file__).parent
PLUGINS = UNIT.parents[1] / "ansible_collections/picluster/cloud/plugins"
PACKAGE = "ansible_collections.picluster.cloud.plugins."
ROOMS = sorted({path.parent.name for path in PLUGINS.glob("*_utils/*/*.py")})
FILES = sorted(path for path in PLUGINS.rglob("*.py"))
LIBRARY = [path for path in FILES if path.parts[-3] in {"module_utils", "plugin_utils"}]
GLUE_FOLDERS = {"modules", "action", "callback", "filter", "inventory", "lookup"}
GLUE = [path for path in FILES if path.parent.name in GLUE_FOLDERS]
# Beside the room of its own subject: `node` is the kit, `confirm` the one mechanism for what can lock the owner out.
SHARED = {"node", "confirm"}
HEADER = "# Copyright: the picluster authors\n# SPDX-License-Identifier: Apache-2.0\n"
LONGEST, LONGEST_TEST = 400, 600
TYPING = "TYPE_CHECKING"


def imports(path: Path, *, for_types: bool = True) -> set[str]:
    """Return what a file imports of this collection, as paths below plugins/ without a suffix.

    Args:
        path: The file.
        for_types: Whether to include what it imports only for type checkers.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not for_types:
        tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == TYPING)]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(PACKAGE):
            base = f"{node.module}."[len(PACKAGE) :].replace(".", "/")
            names = {f"{base}{alias.name}" for alias in node.names}
            found |= {name if (PLUGINS / f"{name}.py").exists() else base.rstrip("/") for name in names}
    return found


def rooms(path: Path) -> set[str]:
    """Return the rooms that a file imports."""
    return {parts[1] for name in imports(path) if (parts := name.split("/"))[0].endswith("_utils")}


def title(path: Path) -> str:
    """Name a test case by its file."""
    return str(path.relative_to(PLUGINS))


def test_there_are_rooms_to_look_at() -> None:
    assert {"node", "confirm", "identity", "network", "ssh", "firewall", "docker", "k3s", "hadoop"} <= set(ROOMS)
    assert imports(PLUGINS / "modules/confirm.py") >= {"module_utils/node/module", "module_utils/confirm/rollback"}


def test_every_helper_stands_in_a_room() -> None:
    assert [title(path) for path in FILES if path.parent.name.endswith("_utils")] == []


@pytest.mark.parametrize("path", LIBRARY, ids=title)
def test_a_room_imports_the_kit_and_itself(path: Path) -> None:
    assert rooms(path) <= {"node", path.parent.name}
    assert [name for name in imports(path) if not name.split("/")[0].endswith("_utils")] == []


@pytest.mark.parametrize("path", GLUE, ids=title)
def test_a_module_imports_one_subject(path: Path) -> None:
    assert len(rooms(path) - SHARED) <= 1
    assert [name for name in imports(path) if name.split("/")[0] == "modules"] == []


def test_what_runs_on_a_node_imports_nothing_of_the_controller() -> None:
    onto_nodes = [path for path in FILES if path.parts[-3] == "module_utils" or path.parent.name == "modules"]
    assert [title(path) for path in onto_nodes if any(name.startswith("plugin_utils") for name in imports(path))] == []


def test_what_runs_on_a_node_checks_no_type_in_a_way_that_python_3_9_cannot() -> None:
    # isinstance(x, a | b) is of 3.10; Bullseye has 3.9, and the tests run on a newer one.
    onto_nodes = [path for path in FILES if path.parts[-3] == "module_utils" or path.parent.name == "modules"]
    calls = [
        (title(path), node.lineno)
        for path in onto_nodes
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"isinstance", "issubclass"}
        and isinstance(node.args[1], ast.BinOp)
    ]
    assert calls == []


def test_what_runs_on_a_node_calls_nothing_that_python_3_9_lacks() -> None:
    # hashlib, pathlib, itertools: each of 3.10 or later.
    newer = {"file_digest", "hardlink_to", "pairwise", "batched"}
    controller = {"module_utils/hadoop/bundle.py"}
    onto_nodes = [path for path in FILES if path.parts[-3] == "module_utils" or path.parent.name == "modules"]
    calls = [
        (title(path), node.attr)
        for path in onto_nodes
        if title(path) not in controller
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in newer
    ]
    assert calls == []


def test_a_room_has_no_import_circle() -> None:
    # When the program runs. For type checkers a part may name the owner that it is handed, as Files names Node; between
    # rooms such an import counts as well (test_a_room_imports_the_kit_and_itself).
    graph = {title(path).removesuffix(".py"): imports(path, for_types=False) for path in LIBRARY}
    while leaves := [name for name, needs in graph.items() if not needs & graph.keys() - {name}]:
        for leaf in leaves:
            del graph[leaf]
    assert sorted(graph) == []


def test_a_class_name_stands_for_one_thing() -> None:
    names = Counter(
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and node.name not in {"ActionModule", "FilterModule", "LookupModule", "ModuleDocFragment"}
    )
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("path", FILES, ids=title)
def test_a_file_is_short_and_carries_the_licence(path: Path) -> None:
    text = path.read_text(encoding="utf-8").removeprefix("#!/usr/bin/python\n")
    assert len(text.splitlines()) <= LONGEST
    assert text.startswith(HEADER)


def test_tests_are_short_and_stand_in_the_room_of_what_they_test() -> None:
    tests = sorted(UNIT.rglob("*.py"))
    assert [str(path) for path in tests if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST_TEST] == []
    assert {path.parent.name for path in tests if path.parent != UNIT} <= set(ROOMS)
