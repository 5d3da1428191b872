# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The controller records which node holds the cluster's data, and refuses groups that would start a second cluster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.action import k3s_check, k3s_node
from ansible_collections.picluster.cloud.plugins.plugin_utils.k3s.checks import cluster_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.k3s.record import holders
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from pathlib import Path


def problems(folder: Path, server: str = "", **settings: Any) -> list[Problem]:
    """Return the problems of an inventory with this server."""
    variables = {"inventory_dir": str(folder), **settings}
    groups = {"nodes": ["red1", "red2"], "k3s_server": [server] if server else []}
    return list(cluster_problems(Inventory(groups, {"red1": variables, "red2": variables})))


@pytest.fixture
def record(tmp_path: Path) -> Seen:
    with Seen(tmp_path).edit() as nodes:
        nodes["red1"] = {"machine_id": "x", "k3s_server_data": True}
    return Seen(tmp_path)


def test_group_that_names_another_server_is_refused_before_any_node_is_touched(record: Seen) -> None:
    folder = record.path.parent
    (problem,) = problems(folder, "red2")
    assert (problem.node, problem.group) == ("red2", "k3s_server")
    assert problem.text == (
        "k3s_server has red2, but red1 was the server and holds the cluster's data: red2 would start a new, empty "
        "cluster, and everything deployed on the old cluster would be lost; put red1 back into k3s_server, or confirm "
        "with -e k3s_give_up_cluster=red1"
    )
    assert problems(folder, "red2", k3s_give_up_cluster="red2") == [problem]


@pytest.mark.parametrize(
    ("server", "settings"),
    [
        ("red1", {}),
        ("", {}),
        ("red2", {"k3s_give_up_cluster": "red1"}),
        ("red2", {"k3s_config": {"datastore-endpoint": "x"}}),
    ],
    ids=["same server", "layer removed", "given up", "data elsewhere"],
)
def test_groups_that_lose_no_cluster_pass(record: Seen, server: str, settings: dict[str, Any]) -> None:
    assert problems(record.path.parent, server, **settings) == []


def test_cluster_that_was_never_seen_passes(tmp_path: Path) -> None:
    assert problems(tmp_path, "red2") == []


class Action:
    """Runs an action plugin whose module gives the answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.monkeypatch, self.folder = monkeypatch, folder
        self.calls: list[dict[str, Any]] = []

    def run(self, plugin: Any, node: str, *, check: bool = False, **answer: Any) -> dict[str, Any]:
        def execute(_self: Any, **said: Any) -> dict[str, Any]:
            self.calls.append(said["module_args"])
            return answer

        kind = plugin.ActionModule
        self.monkeypatch.setattr(kind.__bases__[0], "run", lambda *_: {})
        self.monkeypatch.setattr(kind, "_execute_module", execute)
        action = kind.__new__(kind)
        action._task = SimpleNamespace(args={"node_name": node}, check_mode=check)
        result: dict[str, Any] = action.run(task_vars={"inventory_dir": str(self.folder), "inventory_hostname": node})
        return result


@pytest.fixture
def action(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Action:
    return Action(monkeypatch, tmp_path)


@pytest.mark.parametrize("plugin", [k3s_node, k3s_check])
def test_server_is_recorded_once_its_data_was_seen(action: Action, tmp_path: Path, plugin: Any) -> None:
    action.run(plugin, "red1", server_data=False)
    action.run(plugin, "red1", check=True, server_data=True)
    assert holders(Seen(tmp_path).nodes()) == []
    # A check that found another node not well has seen the data all the same.
    action.run(plugin, "red1", server_data=True, failed=True)
    assert holders(Seen(tmp_path).nodes()) == ["red1"]


def test_new_server_takes_the_place_of_one_that_was_given_up(action: Action, record: Seen) -> None:
    action.run(k3s_node, "red2", server_data=True)
    assert record.nodes() == {"red1": {"machine_id": "x"}, "red2": {"k3s_server_data": True, "layers": ["k3s"]}}


def test_node_is_told_whether_it_was_seen_with_data(action: Action, record: Seen) -> None:
    action.run(k3s_node, "red1")
    action.run(k3s_node, "red2")
    assert [call["recorded_server"] for call in action.calls] == [True, False]


def test_record_that_cannot_be_written_is_a_warning(action: Action, tmp_path: Path) -> None:
    action.folder = tmp_path / "gone"
    server, layer = action.run(k3s_node, "red1", server_data=True)["warnings"]
    assert server.endswith("a k3s server that moves will not be noticed")
    assert layer.endswith("a slip that removes k3s will not be noticed")
