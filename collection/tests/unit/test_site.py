"""site.yml as Ansible reads it: each role can be chosen by its name, and fails by itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = ROOT / "playbooks"
ALONE = {"reboot"}  # a playbook of its own


@pytest.fixture(scope="module")
def listed() -> list[tuple[str, set[str]]]:
    """Return role and tags of each task of the plays before the verification."""
    told = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--list-tasks", "-i", "inventories/red", "site.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    before, _verify = told.split("Verify the cluster end to end")
    found = re.findall(r"^ +picluster\.cloud\.(\w+) : .*TAGS: \[(.*)\]$", before, re.MULTILINE)
    return [(role, set(tags.split(", "))) for role, tags in found]


def test_every_role_is_in_the_site_and_has_its_name_as_tag(listed: list[tuple[str, set[str]]]) -> None:
    roles = {path.name for path in ROOT.glob("collection/ansible_collections/picluster/cloud/roles/*")} - ALONE
    assert {role for role, _tags in listed} == roles
    assert [role for role, tags in listed if tags != {role}] == []


def test_a_failure_withholds_no_other_subject_but_after_one_of_the_address() -> None:
    play = next(play for play in yaml.safe_load((PLAYBOOKS / "site.yml").read_text("utf-8")) if "strategy" in play)
    *subjects, report = play["tasks"]
    alone = [task for task in subjects if "ansible.builtin.import_tasks" not in task]
    assert [task["tags"] for task in alone] == [["network"]]
    assert all([task["vars"]["subject"]] == task["tags"] for task in subjects if task not in alone)
    assert (report["when"], report["tags"]) == ("failed_subjects is defined", ["always"])
    (block,) = yaml.safe_load((PLAYBOOKS / "tasks" / "configure.yml").read_text("utf-8"))
    assert "failed_subjects" in block["rescue"][0]["ansible.builtin.set_fact"]
