# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A whole node: its first run, its second, what a change restarts, and what is left when it leaves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.apply import refuse_loopback
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import CONF, DATA, LINK, NAME_DIR
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import software
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from conftest import Board


def started(board: Board) -> list[str]:
    """Return the daemons that the last run started or restarted, with the verb."""
    commands = [command.split() for command in board.node.actions if "--no-block" in command]
    return [f"{verb} {unit.removeprefix('hadoop-').removesuffix('.service')}" for _, verb, _, unit in commands]


def test_a_second_run_changes_nothing(board: Board) -> None:
    changed = board.run()
    assert board.answer == {"hdfs": "CID-1"}
    assert {"group hadoop", "user hdfs", NAME_DIR, LINK, f"{CONF}/core-site.xml (absent)"} <= {*changed, *before(board)}
    assert started(board) == ["start namenode", "start datanode", "start hdfs-dirs"]
    assert board.run() == []
    assert all(command.startswith("systemctl show") for command in board.node.commands)


def before(board: Board) -> list[str]:
    return [entry["before_header"] for entry in board.node.diff]


def test_a_check_of_a_fresh_node_reports_all_and_changes_nothing(board: Board) -> None:
    found = sorted(board.root.rglob("*"))
    board.addresses.clear()  # the role before this one would write them
    assert {"group hadoop", "user yarn", NAME_DIR, LINK, f"{CONF}/workers"} <= set(board.run(check=True))
    assert sorted(board.root.rglob("*")) == found
    assert all(command.startswith("systemctl show") for command in board.node.commands)


@pytest.mark.parametrize(
    ("change", "restarts"),
    [
        ({"heaps": {"namenode": 700}}, ["restart namenode"]),
        ({"properties": {"hdfs-site": {"a": "b"}}}, ["restart namenode", "restart datanode"]),
        ({"users": ["pi"]}, ["restart hdfs-dirs"]),
        ({"block_size": 1 << 20}, []),
        ({"daemons": ["namenode", "datanode", "resourcemanager"]}, ["start resourcemanager"]),
    ],
)
def test_a_change_restarts_what_reads_it_and_a_second_run_changes_nothing(
    board: Board, change: dict[str, Any], restarts: list[str]
) -> None:
    from_defaults = {"heaps": {"namenode": 512, "datanode": 256, "resourcemanager": 384}}
    board.run(**from_defaults)
    options = {**from_defaults, **change}
    options["heaps"] = from_defaults["heaps"] | options["heaps"]
    assert board.run(**options)
    assert started(board) == restarts
    assert board.run(**options) == []


def test_a_daemon_that_left_is_stopped_and_its_unit_removed(board: Board) -> None:
    board.run()
    board.run(daemons=["namenode"])
    assert "systemctl disable --now hadoop-datanode.service" in board.node.actions
    assert board.node.actions[-1] == "systemctl daemon-reload"
    assert not board.node.path("/etc/systemd/system/hadoop-datanode.service").exists()
    assert board.run(daemons=["namenode"]) == []


def test_a_unit_file_that_a_killed_run_left_unread_is_read(board: Board) -> None:
    board.run()
    board.units["hadoop-datanode.service"]["NeedDaemonReload"] = "yes"
    assert board.run() == ["systemd"]
    assert board.node.actions == ["systemctl daemon-reload"]


def test_folders_get_their_modes_back(board: Board) -> None:
    board.run()
    board.node.path(NAME_DIR).chmod(0o777)
    assert board.run() == [NAME_DIR]
    assert board.node.path(NAME_DIR).stat().st_mode & 0o777 == 0o700
    assert board.node.diff[0]["after"] == "hdfs:hadoop 0700\n"


def test_a_file_where_a_folder_belongs_is_one_sentence(board: Board) -> None:
    board.node.write(f"{DATA}/hdfs", "")
    board.run()
    assert board.answer["msg"] == f"{DATA}/hdfs is not a directory; move it away"


def test_the_link_moves_to_another_release(board: Board) -> None:
    board.run()
    board.unpack("/opt/hadoop-3.5.1")
    assert LINK in board.run(home="/opt/hadoop-3.5.1", release="other")
    assert str(board.node.path(LINK).readlink()) == "/opt/hadoop-3.5.1"
    assert "restart namenode" in started(board)


def test_a_home_without_a_release_is_refused(board: Board) -> None:
    board.run(home="/opt/absent")
    assert board.answer["msg"] == "home has no bin/hdfs: /opt/absent; unpack Hadoop's archive there first"
    assert not os.path.lexists(board.node.path(LINK))


def test_a_failure_after_the_format_still_tells_of_the_image(board: Board) -> None:
    board.node.write("/var/lib/picluster", "not a folder")  # so that the mark cannot be written
    board.run()
    assert (board.answer["failed"], board.answer["hdfs"], board.formats) == (True, "CID-1", 1)


@pytest.mark.parametrize("address", ["127.0.1.1", None])
def test_a_name_that_leads_nowhere_is_refused_before_the_first_change(board: Board, address: str | None) -> None:
    if address:
        board.addresses["red1"] = address
    else:
        del board.addresses["red1"]
    assert board.run() == []
    assert "/etc/hosts" in board.answer["msg"]
    assert board.node.commands == []
    with pytest.raises(UserError, match="red1 "):
        refuse_loopback("red2", "red1")


def test_leaving_removes_software_and_never_data(board: Board) -> None:
    board.run()
    board.node.write("/opt/hadoop-mine/bin/hdfs", "")
    removed = before_of_removal(board)
    assert removed == [path for path in removed if board.node.path(path).exists() is False]
    assert f"{CONF}/core-site.xml" in removed
    assert [path for path in software() if os.path.lexists(board.node.path(path))] == []
    assert sorted(path.name for path in board.node.path("/opt").iterdir()) == ["hadoop-mine"]
    assert not board.node.path(CONF).exists()
    assert board.node.path(f"{NAME_DIR}/current/VERSION").is_file()
    assert board.run(daemons=[]) == []
    assert board.node.commands == []


def before_of_removal(board: Board) -> list[str]:
    board.run(check=True, daemons=[])
    checked = [entry["before_header"] for entry in board.node.diff]
    assert board.node.commands == []
    board.run(daemons=[])
    assert [entry["before_header"] for entry in board.node.diff] == checked
    stopped = "systemctl disable --now hadoop-namenode.service hadoop-datanode.service hadoop-hdfs-dirs.service"
    assert board.node.actions == [stopped, "systemctl daemon-reload"]
    return [path for path in checked if path.startswith("/etc")]


def test_a_tree_that_a_killed_removal_left_is_removed(board: Board) -> None:
    board.node.write("/opt/.hadoop-3.4.0.picluster-old/bin/hdfs", "")
    board.run(daemons=[])
    assert not board.node.path("/opt/.hadoop-3.4.0.picluster-old").exists()
