# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What is started, restarted and left alone, and how the masters learn of their workers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import services
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import DIRS_UNIT, HadoopUnit
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.services import HadoopServices
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome

if TYPE_CHECKING:
    from pathlib import Path

DATANODE = HadoopUnit("hadoop-datanode.service", "new", "datanode")
NAMENODE = HadoopUnit("hadoop-namenode.service", "new", "namenode")
REFRESH = "runuser -u hdfs -- timeout 60 env --chdir=/ /opt/hadoop/bin/hdfs --config /etc/hadoop dfsadmin -refreshNodes"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    addresses = {"red2": "10.0.0.2", "red3": "10.0.0.3"}
    monkeypatch.setattr(socket, "gethostbyname", addresses.__getitem__)
    return FakeNode(tmp_path, {REFRESH: ""})


@pytest.mark.parametrize(
    ("found", "verb"),
    [
        ({"ActiveState": "inactive", "MainPID": "0"}, "start"),
        ({"ActiveState": "failed", "MainPID": "0"}, "start"),
        ({}, "start"),
        ({"ActiveState": "activating", "MainPID": "0"}, ""),  # systemd tries again by itself
        ({"ActiveState": "deactivating", "MainPID": "1", "Job": "9"}, ""),
        ({"ActiveState": "deactivating", "MainPID": "0"}, "start"),
        ({"ActiveState": "active", "MainPID": "7"}, ""),  # ended since: there is no /proc/7
    ],
)
def test_what_does_not_run_is_started(node: FakeNode, found: dict[str, str], verb: str) -> None:
    assert HadoopServices(node).verb(DATANODE, found) == verb


@pytest.mark.parametrize(
    ("inputs", "verb"), [("PICLUSTER_INPUTS=old\0", "restart"), ("PICLUSTER_INPUTS=new\0", ""), ("", "restart")]
)
def test_a_process_is_restarted_for_other_inputs_only(node: FakeNode, inputs: str, verb: str) -> None:
    node.write("/proc/7/environ", f"A=1\0{inputs}B=2\0")
    assert HadoopServices(node).verb(DATANODE, {"ActiveState": "active", "MainPID": "7"}) == verb


def test_hdfs_folders_are_created_again_for_other_inputs_only(node: FakeNode) -> None:
    found = {"ActiveState": "active", "MainPID": "0"}
    unit = HadoopUnit(DIRS_UNIT, "new")
    assert HadoopServices(node).verb(unit, found) == "restart"
    node.write(services.NOTE, "new")
    assert HadoopServices(node).verb(unit, found) == ""


def test_masters_read_the_workers_again_for_another_name_or_address(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish(*workers: str, check: bool = False, fresh: bool = False) -> tuple[bool, list[str]]:
        one = FakeNode(node.root, node.answers, check_mode=check)
        HadoopServices(one).publish_workers(NAMENODE, workers, fresh=fresh)
        return one.changed, one.commands

    assert publish("red2", fresh=True) == (True, [])  # it reads the list at its start
    assert publish("red2") == (False, [])
    assert publish("red2", "red3", check=True) == (True, [])
    assert publish("red3", "red2") == (True, [REFRESH])
    assert publish("red2", "red3") == (False, [])
    monkeypatch.setattr(socket, "gethostbyname", {"red2": "10.0.0.2", "red3": "10.0.0.33"}.__getitem__)
    assert publish("red2", "red3") == (True, [REFRESH])


def test_the_next_run_repairs_one_that_was_killed_while_a_master_read_its_workers(node: FakeNode) -> None:
    def killed(*_command: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HadoopServices(FakeNode(node.root, {REFRESH: killed})).publish_workers(NAMENODE, ["red2"], fresh=False)
    HadoopServices(node).publish_workers(NAMENODE, ["red2"], fresh=False)
    assert node.commands == [REFRESH]


def test_a_master_that_does_not_listen_is_restarted(tmp_path: Path, node: FakeNode) -> None:
    deaf = FakeNode(tmp_path, {REFRESH: Outcome(255)})
    HadoopServices(deaf).publish_workers(NAMENODE, ["red2"], fresh=False)
    assert deaf.commands[-1] == "systemctl restart --no-block hadoop-namenode.service"


def test_a_name_without_an_address_is_listed_all_the_same(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_name: str) -> Any:
        raise socket.gaierror

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    HadoopServices(node).publish_workers(NAMENODE, ["red2"], fresh=True)
    assert node.text("/var/lib/hadoop/.workers-namenode") == "red2 \n"
