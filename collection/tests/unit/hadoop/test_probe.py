# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import socket
from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import probe

LIVE = {"adminState": "In Service", "remaining": 65 << 30}


def namenode(live: dict[str, Any], dead: tuple[str, ...] = (), safemode: str = "") -> dict[str, Any]:
    """As a NameNode of 3.5.0 answers: objects as text inside the object."""
    nodes = json.dumps({name: {} for name in dead})
    return {"beans": [{"Safemode": safemode, "LiveNodes": json.dumps(live), "DeadNodes": nodes}]}


def manager(**states: str) -> dict[str, Any]:
    nodes = [{"nodeHostName": n, "state": s, "availMemoryMB": 1024, "usedMemoryMB": 1024} for n, s in states.items()]
    return {"nodes": {"node": nodes}}


def state_of(hdfs: dict[str, Any], yarn: dict[str, Any]) -> probe.HadoopState:
    state = probe.HadoopState()
    probe.read_namenode(state, hdfs)
    probe.read_resourcemanager(state, yarn)
    return state


BOTH = {"red2:9866": LIVE, "red3:9866": LIVE}


def test_a_complete_cluster_is_ready() -> None:
    state = state_of(namenode(BOTH), manager(red2="RUNNING", red3="RUNNING"))
    assert state.ready(["red2", "red3"])
    assert state.there["hdfs"]["red2"] == "DataNode, 65 GB free"
    assert state.there["yarn"]["red3"] == "NodeManager, 2048 MB"


@pytest.mark.parametrize(
    ("hdfs", "yarn"),
    [
        (namenode(BOTH, safemode="Safe mode is ON. The reported"), manager(red2="RUNNING", red3="RUNNING")),
        (namenode({"red2:9866": LIVE}), manager(red2="RUNNING", red3="RUNNING")),
        (namenode(BOTH), manager(red2="RUNNING", red3="LOST")),
        (namenode(BOTH), {"nodes": None}),
        ({"beans": []}, manager(red2="RUNNING", red3="RUNNING")),
        (namenode(BOTH | {"red3:9866": {"adminState": "Decommissioned"}}), manager(red2="RUNNING", red3="RUNNING")),
    ],
)
def test_a_cluster_that_lacks_something_is_not_ready(hdfs: dict[str, Any], yarn: dict[str, Any]) -> None:
    assert not state_of(hdfs, yarn).ready(["red2", "red3"])


def test_a_node_that_came_back_counts_although_its_loss_is_remembered() -> None:
    lost_and_found = {
        "nodes": {"node": manager(red2="LOST")["nodes"]["node"] + manager(red2="RUNNING")["nodes"]["node"]}
    }
    state = state_of(namenode({"red2:9866": LIVE}), lost_and_found)
    assert state.ready(["red2"])


def test_the_table_names_the_missing_node_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(address: tuple[str, int], timeout: float) -> None:
        raise (ConnectionRefusedError if address[0] == "red3" else TimeoutError("timed out"))

    monkeypatch.setattr(socket, "create_connection", refuses)
    state = state_of(namenode({"red2:9866": LIVE}), manager(red2="RUNNING", red3="LOST"))
    rows = {
        (r["node"], r["layer"]): (r["state"], r["detail"])
        for r in probe.describe(state, "red1", ["red2", "red3", "red4"])
    }
    assert rows["red1", "hdfs"] == ("ok", "NameNode, 1 DataNodes")
    assert rows["red2", "yarn"] == ("ok", "NodeManager, 2048 MB")
    assert rows["red3", "hdfs"] == ("failed", "the node is up, but no DataNode listens on port 9864")
    assert rows["red3", "yarn"] == ("failed", "the ResourceManager reports it LOST")
    assert rows["red4", "yarn"][0] == "failed"
    assert "does not answer" in rows["red4", "yarn"][1]
    assert len(rows) == 8


def test_a_single_node_has_one_row_a_layer() -> None:
    state = state_of(namenode({"red1:9866": LIVE}), manager(red1="RUNNING"))
    rows = probe.describe(state, "red1", ["red1"])
    assert [(row["node"], row["layer"], row["state"]) for row in rows] == [
        ("red1", "hdfs", "ok"),
        ("red1", "yarn", "ok"),
    ]
    assert rows[0]["detail"] == "NameNode, 1 DataNodes; DataNode, 65 GB free"


def test_a_node_that_is_gone_is_noticed_before_the_masters_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(address: tuple[str, int], timeout: float) -> Any:
        if address[0] == "red3":
            raise ConnectionRefusedError
        return io.BytesIO()  # something that can be closed

    monkeypatch.setattr(socket, "create_connection", connect)
    state = state_of(namenode(BOTH), manager(red2="RUNNING", red3="RUNNING"))
    probe.find_gone(state, ["red2"])
    assert state.missing(["red2"]) == {"hdfs": [], "yarn": []}
    assert not state.ready(["red2"])  # a block or a task could still be sent to red3
    state = state_of(namenode(BOTH), manager(red2="RUNNING", red3="RUNNING"))
    probe.find_gone(state, ["red2", "red3"])
    assert state.missing(["red2", "red3"]) == {"hdfs": ["red3"], "yarn": ["red3"]}
    assert "does not answer on port 9864" in state.absent["hdfs"]["red3"]


def test_a_silent_datanode_does_not_count() -> None:
    state = state_of(namenode({"red2:9866": LIVE | {"lastContact": 31}}), manager(red2="RUNNING"))
    assert state.missing(["red2"])["hdfs"] == ["red2"]
    assert state.absent["hdfs"]["red2"] == "the NameNode has not heard of it for 31 s"


def test_nobody_there_is_a_reason_and_no_crash() -> None:
    state = probe.query_cluster("nowhere.invalid", "pi")
    assert "the NameNode does not answer" in state.why["hdfs"]
    assert "the ResourceManager does not answer" in state.why["yarn"]
