"""What pages state about the project is true: names of files and functions, and the tables of settings."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory import subjects

ROOT = Path(__file__).parents[3]
CLOUD = ROOT / "collection/ansible_collections/picluster/cloud"
# Where a page's paths begin.
BASES = (ROOT, ROOT / "bootstrap/picluster", CLOUD, CLOUD / "plugins")
# A bare name such as `verify.yml` can be any file of an inventory or a role; a bare name of a module cannot.
PATH = re.compile(r"[\w./-]+/|[\w.-]+(/[\w.-]+)+\.\w+|\w+\.py")
FUNCTION = re.compile(r"(?:\w+\.)?(\w+)\(\)")
SETTINGS: dict[str, Any] = runpy.run_path(str(ROOT / "docs/settings.py"))
PAGE = "Before\n<!-- settings: docker_state hadoop_heaps.* -->\nold\n<!-- end of settings -->\nAfter\n"
ROWS = {name: f"| `{name}` | | |" for name in ("docker_state", "hadoop_heaps", "hadoop_heaps.am", "hadoop_heaps.map")}
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


def test_the_tables_of_settings_are_up_to_date() -> None:
    outdated = [str(page.relative_to(ROOT)) for page in SETTINGS["find_outdated"]()]
    assert outdated == [], "run make docs"


def test_a_table_has_the_settings_that_its_comment_names_and_the_rest_of_the_page_stays() -> None:
    written = SETTINGS["write_tables"](PAGE, ROWS)
    before, table, after = written.split("\n\n")
    assert before == "Before\n<!-- settings: docker_state hadoop_heaps.* -->"
    assert re.findall("`(.*)`", table) == ["docker_state", "hadoop_heaps.am", "hadoop_heaps.map"]
    assert after == "<!-- end of settings -->\nAfter\n"
    assert SETTINGS["write_tables"](written, ROWS) == written


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (PAGE.replace("docker_state", "docker_sate"), "docker_sate is not a setting"),
        (PAGE.replace("<!-- end of settings -->", ""), "incomplete"),
        (PAGE.replace("<!-- end of settings -->", "") + PAGE, "incomplete"),
        ("No table", "incomplete"),
    ],
)
def test_a_page_whose_comments_are_wrong_is_refused(page: str, problem: str) -> None:
    with pytest.raises(SETTINGS["PageError"], match=problem):
        SETTINGS["write_tables"](page, ROWS)


@pytest.mark.parametrize(
    ("option", "default", "bounds", "cells"),
    [
        ({"description": "V(a) or C(b|c), see O(d)."}, "a", "", r"`a` | `a` or `b\|c`, see `d`."),
        ({"description": ["One.", "Two."], "choices": ["x", "y"]}, [], "", "`[]` | One. Two. Choices: `x`, `y`."),
        (
            {"description": "Size."},
            {"b": 1, "a": "*"},
            "64 to 4096 MiB",
            "`{b: 1, a: '*'}` | Size. Range: 64 to 4096 MiB.",
        ),
        (
            {"description": "Its default is the user."},
            ["{{ ansible_user }}"],
            "",
            "see description | Its default is the user.",
        ),
        ({"description": "None."}, None, "", "`null` | None."),
    ],
)
def test_a_row_shows_default_description_choices_and_bounds(
    option: dict[str, Any], default: object, bounds: str, cells: str
) -> None:
    assert SETTINGS["render_row"]("x_y", option, default, bounds) == f"| `x_y` | {cells} |"


def test_a_setting_without_a_default_is_required_and_a_key_of_a_mapping_has_its_own_row() -> None:
    rows = SETTINGS["read_rows"]()
    assert rows["network_address"].startswith("| `network_address` | required |")
    assert rows["hadoop_memory.map"].startswith("| `hadoop_memory.map` | `512` |")
    assert rows["hadoop_checksums.arm64"].startswith("| `hadoop_checksums.arm64` |  |")


def test_bounds_are_those_that_the_role_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = {"hadoop_vcores": SimpleNamespace(text="1 to 8"), "raspberry_watchdog": (5, 3600, "seconds")}
    monkeypatch.setattr(subjects, "declared", lambda kind, _roles: declared if kind == "BOUNDS" else {})
    rows = SETTINGS["read_rows"]()
    assert [name for name, row in rows.items() if "Range: " in row] == ["hadoop_vcores"]


def test_a_description_leaves_bounds_to_the_role() -> None:
    rows = SETTINGS["read_rows"]()
    ranges = {name: found[1] for name, row in rows.items() if (found := re.search(r"Range: (\d+ to \d+)", row))}
    assert [name for name, bounds in ranges.items() if rows[name].count(bounds) > 1] == []


def test_check_names_an_outdated_page_and_writes_only_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = SETTINGS["main"]
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    monkeypatch.setitem(main.__globals__, "ROOT", tmp_path)
    monkeypatch.setitem(main.__globals__, "PAGES", (page,))
    monkeypatch.setitem(main.__globals__, "read_rows", lambda: ROWS)
    monkeypatch.setattr("sys.argv", ["settings.py", "--check"])
    assert (main(), page.read_text()) == (1, PAGE)
    assert capsys.readouterr().err == "page.md: a table of settings is out of date; run make docs\n"
    monkeypatch.setattr("sys.argv", ["settings.py"])
    assert main() == 0
    monkeypatch.setattr("sys.argv", ["settings.py", "--check"])
    assert main() == 0
    page.write_text(PAGE.replace("docker_state", "docker_sate"))
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "page.md: docker_sate is not a setting; correct its name\n"
