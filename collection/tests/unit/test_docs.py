"""The files and functions that the pages for contributors name: each exists under that name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CLOUD = ROOT / "collection/ansible_collections/picluster/cloud"
# Where a page's paths begin.
BASES = (ROOT, ROOT / "bootstrap/picluster", CLOUD, CLOUD / "plugins")
# A bare name such as `verify.yml` can be any file of an inventory or a role; a bare name of a module cannot.
PATH = re.compile(r"[\w./-]+/|[\w.-]+(/[\w.-]+)+\.\w+|\w+\.py")
FUNCTION = re.compile(r"(?:\w+\.)?(\w+)\(\)")
# Of any subject, or made by a run.
PLACEHOLDER = re.compile(r"[<*]|\.\.\.|^\.lab/")


def find(path: str, before: Path | None) -> Path | None:
    """Return the file that a page means: from one of its bases, or near the one that it named before."""
    near = (before, before.parent) if before else ()
    return next((base / path for base in (*near, *BASES) if (base / path).exists()), None)


def defines(file: Path, name: str) -> bool:
    """Return whether a file defines a function or a method."""
    return re.search(rf"^\s*def {name}\(", file.read_text(encoding="utf-8"), re.MULTILINE) is not None


def missing(line: str) -> list[str]:
    """Return the files and functions of one line that do not exist."""
    lost = []
    file: Path | None = None
    for name in re.findall(r"`([^`]+)`", line):
        if PLACEHOLDER.search(name):
            break  # what follows is relative to a folder that has no name yet
        if PATH.fullmatch(name):
            if (found := find(name, file)) is None:
                lost.append(name)
            file = found or file
        elif (call := FUNCTION.fullmatch(name)) and file and file.suffix == ".py" and not defines(file, call[1]):
            lost.append(f"{name} in {file.name}")
    return lost


@pytest.mark.parametrize("page", ["architecture.md", "contributing.md"])
def test_what_a_page_for_contributors_names_exists(page: str) -> None:
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    assert [lost for line in lines for lost in missing(line)] == []


def test_a_name_that_does_not_exist_is_found() -> None:
    assert missing("B `inventory/names.py`: `expand_names()`") == []
    assert missing("B `inventory/names.py`: `no_such()`; `inventory/gone.py`") == [
        "no_such() in names.py",
        "inventory/gone.py",
    ]
