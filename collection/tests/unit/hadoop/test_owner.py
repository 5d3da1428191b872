# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Which of two Hadoops on a node is picluster's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.apply import STAMP, file_is_ours, foreign_paths
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import CONF, LINK
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import SCRIPT, UNITS

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Board

MARKED = "# Managed by picluster.\n"
FOREIGN = "# by hand\n"
SITE = '<?xml version="1.0"?>\n<!-- Managed by picluster. -->\n<configuration />\n'
FOREIGN_SITE = '<?xml version="1.0"?>\n<configuration />\n'
RELEASE = "/opt/hadoop-3.4.0"
HOME = "/opt/hadoop-3.5.0"


def install(node: FakeNode, site: str, head: str, *, stamped: bool) -> set[str]:
    """Put a Hadoop on the node whose core-site.xml, command and unit are as given; return its paths."""
    texts = {
        f"{CONF}/core-site.xml": site,
        f"{CONF}/workers": "red2\n",
        f"{CONF}/http-secret": "key\n",
        f"{CONF}/hdfs-dirs.json": "{}\n",
        "/usr/local/bin/hdfs": f"#!/bin/sh\n{head}",
        f"{UNITS}/hadoop-datanode.service": f"{head}[Unit]\n",
    }
    for path, text in texts.items():
        node.write(path, text)
    node.write(f"{RELEASE}/bin/hdfs", "")
    if stamped:
        node.write(f"{RELEASE}/{STAMP}", "")
    node.path(LINK).symlink_to(RELEASE)
    return {*texts, LINK, RELEASE}


def left(node: FakeNode, paths: set[str]) -> set[str]:
    return {path for path in paths if os.path.lexists(node.path(path))}


def test_leaving_takes_every_file_that_is_ours(board: Board) -> None:
    paths = install(board.node, SITE, MARKED, stamped=True)
    removed = [path for path in board.run(daemons=[]) if path.startswith(CONF)]
    assert left(board.node, paths) == set()
    # The last one, so that a killed removal still knows who wrote the list of workers.
    assert removed[-1] == f"{CONF}/core-site.xml (absent)"


def test_anothers_hadoop_on_a_node_that_leaves_is_not_touched(board: Board) -> None:
    paths = install(board.node, FOREIGN_SITE, FOREIGN, stamped=False)
    board.node.path(f"{HOME}/{STAMP}").unlink()
    assert board.run(daemons=[]) == []
    assert left(board.node, paths) == paths
    assert board.node.commands == []


def test_of_a_mixed_node_only_ours_is_removed_and_stopped(board: Board) -> None:
    paths = install(board.node, SITE, FOREIGN, stamped=False)
    board.run(daemons=[])
    assert left(board.node, paths) == {"/usr/local/bin/hdfs", f"{UNITS}/hadoop-datanode.service", LINK, RELEASE}
    assert board.node.commands == []


@pytest.mark.parametrize("check", [False, True])
def test_a_node_with_anothers_hadoop_is_refused_before_the_first_change(board: Board, *, check: bool) -> None:
    install(board.node, FOREIGN_SITE, FOREIGN, stamped=False)
    assert board.run(check=check) == []
    assert board.answer["msg"] == (
        f"this node has a Hadoop that picluster did not install: {CONF}/core-site.xml, {CONF}/workers, "
        f"{CONF}/http-secret and 4 more; move it away, or remove the node from the Hadoop groups; nothing was changed"
    )
    assert board.node.commands == []


def test_a_link_that_picluster_did_not_make_is_refused(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    install(node, SITE, MARKED, stamped=False)
    assert foreign_paths(node, HOME) == [LINK]
    assert foreign_paths(node, RELEASE) == []  # unpacked by other means, and set as home
    node.write(f"{RELEASE}/{STAMP}", "")
    assert foreign_paths(node, HOME) == []
    node.path(LINK).unlink()
    node.path(LINK).symlink_to("hadoop-3.4.0")  # relative to /opt
    assert foreign_paths(node, HOME) == []
    node.path(LINK).unlink()
    node.path(LINK).mkdir()
    assert foreign_paths(node, HOME) == [LINK]


def test_a_dangling_link_is_ours_where_the_configuration_is(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    install(node, SITE, MARKED, stamped=False)
    node.path(RELEASE).rename(node.path("/opt/gone"))
    assert foreign_paths(node, HOME) == []
    node.write(f"{CONF}/core-site.xml", FOREIGN_SITE)
    assert LINK in foreign_paths(node, HOME)


def test_every_file_of_a_plan_is_recognised_as_ours_when_it_is_there(board: Board, tmp_path: Path) -> None:
    board.run()
    # In the order in which they are written: a killed run leaves nothing in doubt.
    written = [entry["after_header"] for entry in board.node.diff if entry["before_header"].endswith(" (absent)")]
    fresh = FakeNode(tmp_path / "fresh")
    files = [path for path in written if path.startswith(("/etc/", "/usr/"))]
    assert {SCRIPT, f"{CONF}/workers", f"{UNITS}/hadoop-hdfs-dirs.service"} <= set(files)
    for path in files:
        fresh.write(path, board.node.text(path))
        assert file_is_ours(fresh, path), path
