"""playbooks/reboot.yml: who goes when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

PLAYBOOK = Path(__file__).parents[4] / "playbooks/reboot.yml"


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
    wanted = play("Restart the nodes")
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


def lost(cordoned: list[str], dead: list[str]) -> bool:
    """Tell whether a run ends before its first restart, of red1 to red3, by what the asking node's Kubernetes said."""
    tasks = play("Check which nodes need a restart")["tasks"]
    stop = next(task for task in tasks if task["name"] == "Stop if a node of an interrupted run is unreachable")
    assert stop["any_errors_fatal"] is True
    everybody = ["red1", "red2", "red3"]
    variables: dict[str, Any] = {
        "cordoned": {"k3s": cordoned},
        "ansible_play_hosts_all": everybody,
        "ansible_play_hosts": [name for name in everybody if name not in dead],
    }
    variables |= {name: trust_as_template(text) for name, text in stop["vars"].items()}
    return bool(Templar(DataLoader(), variables=variables).evaluate_conditional(trust_as_template(stop["when"])))


def test_nobody_restarts_while_an_interrupted_runs_node_is_away() -> None:
    assert lost(cordoned=["red2"], dead=["red2"])
    # Back: then it is seen to be well. Dead without our doing: the others are not to wait for it. Not in this run.
    assert not lost(cordoned=["red2"], dead=[])
    assert not lost(cordoned=[], dead=["red2"])
    assert not lost(cordoned=["red9"], dead=["red2"])


def test_only_the_one_that_asked_is_looked_at_for_each_node() -> None:
    tasks = play("Check which nodes need a restart")["tasks"]
    plan = next(task for task in tasks if task["name"] == "Record the restart plan of the node")
    cordoned = plan["vars"]["__cordoned"]
    # With 200 nodes, all of them looked at by each of them are 40000.
    told = {
        "red1": {"cordoned": {"k3s": ["red3"], "other": []}},
        "red2": {"cordoned": {"k3s": ["red2"]}},
        "red3": {},
    }
    for name in ("red1", "red2", "red3"):
        variables = {"hostvars": told, "ansible_play_hosts": ["red1", "red2", "red3"], "inventory_hostname": name}
        layers = ["k3s"] if name == "red3" else []
        assert Templar(DataLoader(), variables=variables).template(trust_as_template(cordoned)) == layers


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
