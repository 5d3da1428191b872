# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import probe
from ansible_collections.picluster.cloud.plugins.modules import hadoop_check

if TYPE_CHECKING:
    from pathlib import Path

LIVE = {"adminState": "In Service", "remaining": 65 << 30}


def namenode(live: dict[str, Any], dead: tuple[str, ...] = (), safemode: str = "") -> dict[str, Any]:
    """As a NameNode of 3.5.0 answers: objects as text inside the object."""
    nodes = json.dumps({name: {} for name in dead})
    return {"beans": [{"Safemode": safemode, "LiveNodes": json.dumps(live), "DeadNodes": nodes}]}


def manager(**states: str) -> dict[str, Any]:
    nodes = [{"nodeHostName": n, "state": s, "availMemoryMB": 1024, "usedMemoryMB": 1024} for n, s in states.items()]
    return {"nodes": {"node": nodes}}


def state_of(hdfs: dict[str, Any], yarn: dict[str, Any]) -> probe.State:
    state = probe.State()
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
    assert rows["red3", "yarn"] == ("failed", "the ResourceManager calls it LOST")
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
    state = probe.ask("nowhere.invalid", "pi")
    assert "the NameNode does not answer" in state.why["hdfs"]
    assert "the ResourceManager does not answer" in state.why["yarn"]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        (b"a b  a\n", {b"a": 2, b"b": 1}),
        (b"a\tb\rc\r\nd\x0ce", {b"a": 1, b"b": 1, b"c": 1, b"d": 1, b"e": 1}),
        (b"one\x0btwo", {b"one\x0btwo": 1}),  # no blank for Java's StringTokenizer
        ("a\u00a0b \u00e4".encode(), {"a\u00a0b".encode(): 1, "\u00e4".encode(): 1}),
        (b"\xef\xbb\xbfword", {b"word": 1}),
        (b"\xff x", {b"\xef\xbf\xbd": 1, b"x": 1}),
        (b"", {}),
    ],
)
def test_words_are_counted_as_java_splits_them(text: bytes, counts: dict[bytes, int]) -> None:
    assert probe.count_words([text]) == counts


def test_the_jobs_output_is_read_and_compared() -> None:
    theirs = probe.parse_counts([b"a\t2\nb\t1\n", b"c\x0bd\t4\n", b""])
    assert theirs == {b"a": 2, b"b": 1, b"c\x0bd": 4}
    assert probe.compare(Counter({b"a": 2, b"b": 1, b"c\x0bd": 4}), theirs) == ""


@pytest.mark.parametrize("ours", [{b"a": 3}, {b"a": 2, b"z": 1}, {}])
def test_any_difference_of_the_counts_is_told(ours: dict[bytes, int]) -> None:
    assert "the first is" in probe.compare(Counter(ours), Counter({b"a": 2}))


def test_output_that_is_none_is_refused() -> None:
    with pytest.raises(probe.NoAnswerError, match="where a word and its count were wanted"):
        probe.parse_counts([b"Exception in thread\n"])


def test_the_job_reads_in_as_many_parts_as_there_are_tasks() -> None:
    properties = probe.job_properties("n", "/in", "/out", 1000, 3)
    assert properties["mapreduce.input.fileinputformat.split.maxsize"] == "334"
    assert properties["mapreduce.job.map.class"].endswith("TokenCounterMapper")


def test_the_text_is_regular_files_without_links(tmp_path: Path) -> None:
    (tmp_path / "GPL-3").write_bytes(b"text")
    (tmp_path / "GPL").symlink_to("GPL-3")
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    assert hadoop_check.texts_of(tmp_path) == {"GPL-3": b"text"}


def test_no_text_is_one_sentence(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(hadoop_check.CheckError, match="holds no text to count"):
            hadoop_check.texts_of(folder)


def test_only_its_own_and_long_abandoned_leftovers_are_removed() -> None:
    entries = [
        {"pathSuffix": "picluster-check-9-1-in", "modificationTime": 10_000_000},
        {"pathSuffix": "picluster-check-1-1-out", "modificationTime": 0},
        {"pathSuffix": "picluster-check-2-2-in", "modificationTime": 9_000_000},
        {"pathSuffix": "thesis", "modificationTime": 0},
    ]
    found = hadoop_check.abandoned(entries, "picluster-check-9-1", now=10_000.0)
    assert found == ["picluster-check-9-1-in", "picluster-check-1-1-out"]
