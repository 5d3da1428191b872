"""playbooks/reboot.yml: who goes when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

PLAYBOOK = Path(__file__).parents[3] / "playbooks/reboot.yml"


def play(name: str) -> dict[str, Any]:
    plays: list[dict[str, Any]] = yaml.safe_load(PLAYBOOK.read_text(encoding="utf-8"))
    return next(play for play in plays if play["name"] == name)


def order(first: int, last: int, **settings: object) -> list[list[str]]:
    """Return the batches in which nodes restart, of so many ordinary ones and so many servers and masters."""
    groups = {
        "reboot_first": [f"red{i}" for i in range(2, first + 2)],
        "reboot_last": [f"server{i}" for i in range(last)],
    }
    groups = {name: hosts for name, hosts in groups.items() if hosts} | {"nodes": ["red1"]}
    wanted = play("Restart them")
    variables: dict[str, Any] = {"groups": groups, "hostvars": {"red1": settings}}
    variables |= {name: trust_as_template(text) for name, text in wanted["vars"].items()}
    templar = Templar(DataLoader(), variables=variables)
    hosts: list[str] = templar.template(trust_as_template(wanted["hosts"]))
    sizes: list[int] = templar.template(trust_as_template(wanted["serial"]))
    batches = []
    while hosts:
        # Ansible goes on with the last size.
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        batches.append(hosts[:size])
        hosts = hosts[size:]
    return batches


def test_one_after_the_other_and_servers_last() -> None:
    assert order(2, 1) == [["red2"], ["red3"], ["server0"]]


@pytest.mark.parametrize("batch", [2, "2"])
def test_servers_go_one_by_one_however_large_the_batch(batch: object) -> None:
    assert order(5, 2, reboot_batch=batch) == [["red2", "red3"], ["red4", "red5"], ["red6"], ["server0"], ["server1"]]
    assert order(4, 1, reboot_batch=batch) == [["red2", "red3"], ["red4", "red5"], ["server0"]]
    assert order(1, 2, reboot_batch=9) == [["red2"], ["server0"], ["server1"]]


@pytest.mark.parametrize("batch", [0, -3])
def test_a_batch_of_nobody_is_one_node(batch: int) -> None:
    assert order(2, 0, reboot_batch=batch) == [["red2"], ["red3"]]


def test_a_run_without_anything_to_do_is_about_nobody() -> None:
    assert order(0, 0) == []
