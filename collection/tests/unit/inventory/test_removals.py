"""A run that would remove a layer from several nodes, or from the last one, stops before any node is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.layers import read_layers
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.removals import removal_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from pathlib import Path

NODES = ["red1", "red2", "red3"]


def problems(
    folder: Path, limit: list[str] | None = None, extra: dict[str, Any] | None = None, **groups: list[str]
) -> list[str]:
    """Return the sentences about an inventory with these groups."""
    variables = {name: {"inventory_dir": str(folder), **(extra or {})} for name in NODES}
    found = removal_problems(Inventory(groups, variables), read_layers(), limit or NODES, extra or {})
    return list(dict.fromkeys(problem.text for problem in found))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an inventory's folder: all nodes have docker, and red1 is the only one with hadoop; red9 is gone."""
    with Seen(tmp_path).edit() as nodes:
        nodes |= {name: {"layers": ["docker"]} for name in [*NODES, "red9"]}
        nodes["red1"]["layers"] = ["docker", "hadoop"]
        nodes["red9"]["layers"] = ["hadoop"]
    return tmp_path


def test_several_nodes_are_named(folder: Path) -> None:
    assert problems(folder, docker=["red3"], hadoop_master=["red1"]) == [
        "docker would be removed from red1, red2; put them back into docker, or confirm with -e confirm_removal=docker"
    ]


def test_all_nodes_and_the_last_node_are_named(folder: Path) -> None:
    # A node that is no longer in the inventory does not keep the layer alive for it.
    docker, hadoop = problems(folder, k3s_server=["red1"])
    assert docker.startswith("docker would be removed from red1, red2, red3, all nodes with it; put them back into")
    assert hadoop == (
        "hadoop would be removed from red1, the last node with it; put it back into hadoop_master or hadoop_worker, or "
        "confirm with -e confirm_removal=hadoop"
    )


def test_one_of_several_nodes_may_leave_and_a_node_may_change_its_group_of_a_layer(folder: Path) -> None:
    assert problems(folder, docker=["red1", "red2"], hadoop_worker=["red1"]) == []


def test_only_the_nodes_of_the_run_count(folder: Path) -> None:
    assert problems(folder, limit=["red2"], hadoop_master=["red1"]) == []
    assert len(problems(folder, limit=["red2", "red3"], hadoop_master=["red1"])) == 1


def test_a_cluster_without_a_record_passes(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


@pytest.mark.parametrize("record", [7, {"docker": 1}, None])
def test_a_broken_record_is_none(tmp_path: Path, record: object) -> None:
    with Seen(tmp_path).edit() as nodes:
        nodes["red1"] = {"layers": record}
    assert problems(tmp_path) == []


def test_only_the_layers_that_are_confirmed_by_name_may_go(folder: Path) -> None:
    both = {"confirm_removal": "docker, hadoop"}
    assert problems(folder, extra=both) == []
    assert [text.partition(" ")[0] for text in problems(folder, extra={"confirm_removal": "hadoop"})] == ["docker"]


def test_a_confirmation_of_no_layer_is_refused(folder: Path) -> None:
    groups = {"docker": NODES, "hadoop_master": ["red1"]}
    assert problems(folder, extra={"confirm_removal": "dokcer"}, **groups) == [
        "confirm_removal: dokcer is not a layer; did you mean docker?"
    ]
