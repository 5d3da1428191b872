# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the Hadoop daemons of one node run and take part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakenode import RUNNING, FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.probe import HadoopState, problems
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.modules import hadoop_health

if TYPE_CHECKING:
    from pathlib import Path

DAEMONS = ["namenode", "datanode", "nodemanager", "historyserver"]


def cluster() -> HadoopState:
    return HadoopState(there={"hdfs": {"red1": "", "red2": ""}, "yarn": {"red1": ""}})


def test_daemons_that_run_and_take_part_are_healthy() -> None:
    assert problems("red1", DAEMONS, dict.fromkeys(DAEMONS, "active"), cluster()) == []


def test_each_unhealthy_daemon_is_named_once() -> None:
    state = cluster()
    state.absent["yarn"]["red2"] = "the ResourceManager reports it LOST"
    units = {"datanode": "active", "nodemanager": "active", "historyserver": "failed"}
    assert problems("red2", ["datanode", "nodemanager", "historyserver"], units, state) == [
        "the ResourceManager reports it LOST",
        "its historyserver is failed",
    ]
    assert problems("red3", ["datanode"], {"datanode": "active"}, state) == ["its datanode has not registered"]
    assert problems("red3", ["datanode"], {}, state) == ["its datanode is unknown to systemd"]


def test_a_layer_that_does_not_work_is_said_once_for_all_its_daemons() -> None:
    state = cluster()
    state.why["hdfs"] = "the NameNode is in safe mode"
    units = dict.fromkeys(DAEMONS, "active")
    assert problems("red1", DAEMONS, units, state) == ["the NameNode is in safe mode"]


def test_the_module_reads_systemd_and_the_masters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hadoop_health, "query_cluster", lambda *_: cluster())
    monkeypatch.setattr(hadoop_health, "find_gone", lambda *_: None)
    node = FakeNode(tmp_path, units={"hadoop-datanode.service": RUNNING})
    options = {"node": "red2", "master": "red1", "user": "pi"}
    assert hadoop_health.converge(node, {**options, "daemons": ["datanode"]}) == {
        "detail": "datanode run and take part"
    }
    with pytest.raises(UserError, match=r"Hadoop of red2 is not healthy: its nodemanager is unknown to systemd$"):
        hadoop_health.converge(node, {**options, "daemons": ["datanode", "nodemanager"]})
