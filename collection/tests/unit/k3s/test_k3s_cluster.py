# Copyright 2026 picluster contributors
# SPDX-License-Identifier: Apache-2.0
"""A k3s cluster is not lost because the group of servers names another node, or because a card is new."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.action import k3s_check, k3s_node
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.cluster import (
    DB_DIR,
    JOINED,
    has_server_data,
    is_given_up,
    refusal,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import Wish
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.rules import Inventory
from ansible_collections.picluster.cloud.plugins.plugin_utils.k3s.record import holders, moved_server_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from pathlib import Path

SERVER = Wish("server", "v1.36.4+k3s1", "10.0.0.1", "red1", "10.0.0.1", "x" * 16, "y" * 16)
AGENT = replace(SERVER, role="agent", server_address="10.0.0.2")
LEAVES = replace(AGENT, role="none")
LAYER_REMOVED = replace(LEAVES, server_address="")


def put(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    return root


DATA = f"{DB_DIR}/state.db"


@pytest.mark.parametrize("wish", [AGENT, LEAVES], ids=["agent", "none"])
def test_data_is_not_left_behind_for_another_server(tmp_path: Path, wish: Wish) -> None:
    put(tmp_path, DATA, JOINED)
    said = refusal(tmp_path, wish, recorded=False, give_up="")
    assert said.startswith("red1 holds the data of a k3s cluster (/var/lib/rancher/k3s/server/db), but the server is")
    assert "everything deployed on the old cluster would be lost" in said
    assert said.endswith("put red1 back into k3s_server, or confirm with -e k3s_give_up_cluster=red1")
    assert refusal(tmp_path, wish, recorded=False, give_up="red9") == said
    assert refusal(tmp_path, wish, recorded=False, give_up="red1") == ""


@pytest.mark.parametrize("wish", [SERVER, LAYER_REMOVED], ids=["stays", "layer removed"])
@pytest.mark.parametrize("recorded", [True, False])
def test_server_that_stays_or_goes_without_a_successor_is_not_refused(
    tmp_path: Path, wish: Wish, *, recorded: bool
) -> None:
    put(tmp_path, DATA, JOINED)
    assert refusal(tmp_path, wish, recorded=recorded, give_up="") == ""
    assert not is_given_up(tmp_path, wish, "red1")


@pytest.mark.parametrize("wish", [SERVER, AGENT, LEAVES, LAYER_REMOVED])
def test_first_run_is_not_refused(tmp_path: Path, wish: Wish) -> None:
    (tmp_path / DB_DIR).mkdir(parents=True)  # a folder alone is no data
    assert refusal(tmp_path, wish, recorded=False, give_up="") == ""


def test_server_whose_card_is_new_starts_no_empty_cluster(tmp_path: Path) -> None:
    said = refusal(tmp_path, SERVER, recorded=True, give_up="")
    assert said.startswith("red1 was the k3s server, but its data (/var/lib/rancher/k3s/server/db) is gone")
    assert "restore /var/lib/rancher/k3s/server from a backup" in said
    assert refusal(tmp_path, SERVER, recorded=True, give_up="red2") == said
    assert refusal(tmp_path, SERVER, recorded=True, give_up="red1") == ""


def test_former_agent_starts_no_empty_cluster(tmp_path: Path) -> None:
    put(tmp_path, JOINED)
    said = refusal(tmp_path, SERVER, recorded=False, give_up="")
    assert said.startswith("red1 is to be the k3s server, but it was an agent of a cluster")
    assert refusal(tmp_path, SERVER, recorded=False, give_up="red7") == ""
    assert refusal(tmp_path, AGENT, recorded=False, give_up="") == ""


def test_data_elsewhere_or_of_another_installer_is_not_judged(tmp_path: Path) -> None:
    put(tmp_path, DATA)
    assert refusal(tmp_path, replace(AGENT, config={"datastore-endpoint": "x"}), recorded=False, give_up="") == ""
    put(tmp_path, "etc/systemd/system/k3s.service")
    assert refusal(tmp_path, LEAVES, recorded=False, give_up="") == ""
    assert not is_given_up(tmp_path, LEAVES, "red1")


def inventory(server: str = "", **settings: Any) -> Inventory:
    groups = {"nodes": ["red1", "red2"], "k3s_server": [server] if server else []}
    return Inventory(groups, {"red1": settings, "red2": settings})


@pytest.fixture
def record(tmp_path: Path) -> Seen:
    with Seen(tmp_path).edit() as nodes:
        nodes["red1"] = {"machine_id": "x", "k3s_server_data": True}
    return Seen(tmp_path)


def test_group_that_names_another_server_is_refused_before_any_node_is_touched(record: Seen) -> None:
    folder = record.path.parent
    (problem,) = moved_server_problems(inventory("red2"), [folder])
    assert (problem.node, problem.group) == ("red2", "k3s_server")
    assert problem.text == (
        "k3s_server has red2, but red1 was the server and holds the cluster's data: red2 would start a new, empty "
        "cluster, and everything deployed on the old cluster would be lost; put red1 back into k3s_server, or confirm "
        "with -e k3s_give_up_cluster=red1"
    )
    assert list(moved_server_problems(inventory("red2", k3s_give_up_cluster="red2"), [folder])) == [problem]


@pytest.mark.parametrize(
    "wanted",
    [
        inventory("red1"),
        inventory(),
        inventory("red2", k3s_give_up_cluster="red1"),
        inventory("red2", k3s_config={"datastore-endpoint": "x"}),
    ],
    ids=["same server", "layer removed", "given up", "data elsewhere"],
)
def test_groups_that_lose_no_cluster_pass(record: Seen, wanted: Inventory) -> None:
    assert list(moved_server_problems(wanted, [record.path.parent])) == []


def test_cluster_that_nobody_has_seen_passes(tmp_path: Path) -> None:
    assert list(moved_server_problems(inventory("red2"), [tmp_path])) == []


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
        self.monkeypatch.setattr(kind, "_remove_tmp_path", lambda *_: None)
        self.monkeypatch.setattr(kind, "_execute_module", execute)
        action = kind.__new__(kind)
        action._task = SimpleNamespace(args={"node_name": node}, check_mode=check)
        action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
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
    assert record.nodes() == {"red1": {"machine_id": "x"}, "red2": {"k3s_server_data": True}}


def test_node_is_told_whether_it_was_seen_with_data(action: Action, record: Seen) -> None:
    action.run(k3s_node, "red1")
    action.run(k3s_node, "red2")
    assert [call["recorded_server"] for call in action.calls] == [True, False]


def test_record_that_cannot_be_written_is_a_warning(action: Action, tmp_path: Path) -> None:
    action.folder = tmp_path / "gone"
    (warning,) = action.run(k3s_node, "red1", server_data=True)["warnings"]
    assert warning.endswith("a k3s server that moves would not be noticed")


def test_data_is_seen_where_k3s_keeps_it(tmp_path: Path) -> None:
    assert not has_server_data(tmp_path)
    assert has_server_data(put(tmp_path, DATA))
