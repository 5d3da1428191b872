"""Files of an inventory that Ansible cannot read: one sentence each, with file and line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.picluster.cloud.plugins.inventory.syntax_check import InventoryModule
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.syntax import folder_problems, source_problem

ROOT = Path(__file__).parents[4]
GOOD = ROOT / "collection/tests/unit/data/inventory_check/good"
MINE, ROLES = "group_vars/all/mine.yml", "20-roles.yml"
QUOTE = "a quote is opened and not closed; close it in the same line"
BEFORE = "; correct this line or the one before it"
GROUP = b"all:\n  children:\n    docker:\n"

# The file, its bytes, the line that the sentence names (0: none), and the sentence.
CASES = {
    "tab": (MINE, b"docker_daemon:\n\tlog-driver: local\n", 2, "contains a tab; indent with spaces"),
    "open quote": (MINE, b'k3s_config:\n  a: "x\n  b: y\n', 2, QUOTE),
    "open quote in groups": (ROLES, GROUP + b'      hosts:\n        "red1:\n', 5, QUOTE),
    "indentation": (MINE, b"a:\n  b: 1\n c: 2\n", 3, "is not valid YAML: did not find expected key" + BEFORE),
    "colon": (MINE, b"a: b: c\n", 1, "is not valid YAML: mapping values are not allowed in this context" + BEFORE),
    "template": (MINE, b"a: 1\nb: {{ a }}\n", 2, "a value that starts with {{ must be in quotes"),
    "two documents": (
        *(MINE, b"a: 1\n---\nb: 1\n", 2),
        "is not valid YAML: expected a single document in the stream, but found another document" + BEFORE,
    ),
    "unknown tag": (
        *(MINE, b"a: !vautl x\n", 1),
        "is not valid YAML: could not determine a constructor for the tag '!vautl'" + BEFORE,
    ),
    "no such day": (
        *(MINE, b"a: 2026-02-30\n", 0),
        "is not valid YAML: day is out of range for month; remove it, or put the value in quotes",
    ),
    "control character": (
        *(MINE, b"a: 1\nb: \x01\n", 2),
        "is not valid YAML: control characters are not allowed; remove it, or put the value in quotes",
    ),
    "duplicate": (MINE, b"a: 1\nb: 1\na: 2\n", 3, "a is already set in line 1; remove one of them"),
    "duplicate in a line": (MINE, b"a: {b: 1, b: 2}\n", 1, "b is already set in line 1; remove one of them"),
    "duplicate below": (MINE, b"a:\n- b: 1\n  b: 1\n", 3, "b is already set in line 2; remove one of them"),
    "duplicate group": (ROLES, GROUP + b"    docker:\n", 4, "docker is already set in line 3; remove one of them"),
    "Latin-1": (MINE, b"a: 1\nb: caf\xe9\n", 2, "is not UTF-8: byte 0xe9; save the file as UTF-8"),
    "UTF-16": (ROLES, "all:\n".encode("utf-16"), 1, "is not UTF-8: byte 0xff; save the file as UTF-8"),
    "list of variables": (MINE, b"- a: 1\n", 1, "must be variables such as k3s_optional: true, got a list"),
    "text": (MINE, b"hello\n", 1, "must be variables such as k3s_optional: true, got a string"),
    "list of groups": (ROLES, b"- all\n", 1, "must be a mapping of groups, got a list"),
    "list as group": (
        *(ROLES, b"docker: [red1]\n", 1),
        "the group docker must be a mapping with hosts, children, vars, got a list",
    ),
    "list of hosts": (
        *(ROLES, GROUP + b"      hosts:\n        - red1\n", 5),
        "hosts of docker must be a mapping such as `red1:`, got a list",
    ),
    "no groups": (ROLES, b"# k3s_server:\n", 0, "is empty; define groups such as all, or delete the file"),
    "text file": (
        *("group_vars/all/mine.yml.txt", b"", 0),
        "is not read because of its suffix .txt; rename it to mine.yml",
    ),
    "capitals": ("group_vars/all/mine.YML", b"", 0, "is not read because of its suffix .YML; rename it to mine.yml"),
    "groups in a text file": (
        *("30-more.txt", GROUP, 0),
        "is not read because of its suffix .txt; rename it to 30-more.yml",
    ),
    "misspelt suffix": ("30-more.ymal", GROUP, 0, "is not read because of its suffix .ymal; rename it to 30-more.yml"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of an inventory without mistakes."""
    return Path(shutil.copytree(GOOD, tmp_path / "red"))


def problems(folder: Path) -> list[str]:
    """Return what is wrong in any file of an inventory."""
    folder_problems.cache_clear()
    sources = sorted(path for path in folder.iterdir() if path.is_file())
    return [*filter(None, map(source_problem, sources)), *folder_problems(folder)]


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_cannot_be_read_is_reported_with_its_line(case: str, folder: Path) -> None:
    name, content, line, sentence = CASES[case]
    (folder / name).write_bytes(content)
    assert problems(folder) == [f"{folder}/{name}{f':{line}' if line else ''}: {sentence}"]


def test_what_ansible_reads_or_is_no_setting_passes(folder: Path) -> None:
    (folder / ROLES).write_text("docker:\n  hosts: red1\n  children:\nk3s_server: {vars: {}}\n", encoding="utf-8")
    (folder / "50-more.yml").write_text("plugin: ansible.builtin.constructed\ngroups: [a]\n", encoding="utf-8")
    (folder / MINE).write_text(
        "\ufeffa: &a {b: 1, 1: 1, '1': 1}\nc: {<<: *a, b: 2}\nd: !vault |\n  x\ne: !unsafe '{{'\n", encoding="utf-8"
    )
    for name in ("notes.txt", "reservations.dnsmasq", "artifacts.lock"):
        (folder / name).write_text("Remember: the second switch\n", encoding="utf-8")
    for name in ("README.md", "mine.yml~", "mine.yml.bak", ".mine.yml.swp"):
        (folder / "group_vars/all" / name).write_text("\t", encoding="utf-8")
    (folder / "group_vars/all/empty.yml").write_text("# nothing yet\n", encoding="utf-8")
    (folder / "group_vars/all/vaulted").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n", encoding="utf-8")
    script = folder / "60-script.yml"
    script.write_text("#!/bin/sh\n\t'", encoding="utf-8")
    script.chmod(0o755)
    assert problems(folder) == []


def test_a_valid_source_is_left_to_the_other_plugins_and_a_list_of_hosts_too(folder: Path) -> None:
    folder_problems.cache_clear()
    assert not InventoryModule().verify_file(str(folder / ROLES))
    assert not InventoryModule().verify_file("red1,red2,")


@pytest.mark.parametrize("name", [MINE, ROLES])
def test_a_run_ends_with_that_sentence_alone(name: str, folder: Path) -> None:
    (folder / name).write_text("docker_daemon:\n\tlog-driver: local\n", encoding="utf-8")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "site.yml", "-i", str(folder)]
    # From the checkout, as a user calls it: with the project's own configuration.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stdout + done.stderr == (
        f"[ERROR]: {folder}/{name}:2: contains a tab; indent with spaces (no node was touched)\n"
    )
