# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""An empty name directory: a new NameNode, or one that lost its image?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import image
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import NAME_DIR
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.image import MARK, NameNodeImage
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import Files
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node, Outcome
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.summary import shortened

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Board

CLUSTER = "CID-1"
POOL = "/mnt/disk/current/BP-1-10.0.0.1-1"
DATA_DIRS = {"hdfs-site": {"dfs.datanode.data.dir": "[SSD]file:///mnt/disk,/mnt/absent"}}


class KilledError(BaseException):
    """The run was killed."""


def lose(board: Board) -> Path:
    """Move the image away; return where it is."""
    place = board.node.path(NAME_DIR)
    return place.rename(place.with_name("elsewhere"))


def refused(board: Board, **options: Any) -> str:
    """Run the module; return its message, after a look that nothing was changed."""
    found = (board.node.path(NAME_DIR).exists(), board.formats)
    assert board.run(**options) == []
    assert (board.node.path(NAME_DIR).exists(), board.formats) == found
    assert board.node.commands == []
    return str(board.answer["msg"])


def test_a_new_node_is_formatted_once_without_force_and_marked(board: Board) -> None:
    changed = board.run()
    assert changed.index(NAME_DIR) < changed.index(MARK)
    assert (board.answer["hdfs"], board.node.text(MARK)) == (CLUSTER, f"{CLUSTER}\n")
    (command,) = (command for command in board.node.commands if "-format" in command)
    scratch = f"-D dfs.namenode.name.dir=file://{NAME_DIR}/.formatting"
    assert command.endswith(f" namenode {scratch} -format -nonInteractive -clusterId {CLUSTER}")
    assert "force" not in command
    assert not board.node.path(f"{NAME_DIR}/.formatting").exists()
    assert (board.run(), board.answer["hdfs"], board.formats) == ([], CLUSTER, 1)


def test_check_mode_reports_the_format_of_a_new_node(board: Board) -> None:
    board.run(check=True)
    assert f"formatted for cluster {CLUSTER}\n" in [entry["after"] for entry in board.node.diff]
    assert board.answer["hdfs"] == ""
    assert not board.node.path(NAME_DIR).exists()
    assert not board.node.path(MARK).exists()


def test_a_killed_format_is_begun_anew(board: Board) -> None:
    board.node.write(f"{NAME_DIR}/.formatting/current/VERSION", "half")
    board.run()
    assert (board.answer["hdfs"], board.formats) == (CLUSTER, 1)


def test_a_failed_format_leaves_no_image_and_says_why(board: Board) -> None:
    board.format_result = Outcome(1, "", "2026-12-01 INFO starting\nno Java\n")
    board.run()
    assert board.answer == {
        "hdfs": "",
        "failed": True,
        "msg": "the NameNode could not be formatted (exit code 1): no Java",
    }
    assert not board.node.path(f"{NAME_DIR}/current").exists()


def test_strange_content_is_neither_formatted_nor_touched(board: Board) -> None:
    photo = board.node.write(f"{NAME_DIR}/photos/1.jpg", "")
    assert refused(board) == f"{NAME_DIR} contains no NameNode image, but 'photos'; move that away"
    assert photo.exists()


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("gone", ["unmounted", "removed"])
def test_a_node_with_the_mark_and_no_image_is_refused_until_the_directory_is_back(
    board: Board, gone: str, *, check: bool
) -> None:
    board.run()
    elsewhere = lose(board)
    place = board.node.path(NAME_DIR)
    if gone == "unmounted":
        place.mkdir()
    said = refused(board, check=check)
    assert said.startswith(f"{NAME_DIR} on red1 contains no NameNode image, ")
    assert f"found the mark {MARK};" in said
    if gone == "unmounted":
        place.rmdir()
    elsewhere.rename(place)
    assert (board.run(), board.formats) == ([], 1)


def test_a_cluster_from_before_the_mark_gets_it_with_its_next_run(board: Board) -> None:
    board.run()
    board.node.path(MARK).unlink()
    board.run(check=True)
    assert [entry["after"] for entry in board.node.diff] == [f"{CLUSTER}\n"]
    assert not board.node.path(MARK).exists()
    board.run()
    assert board.node.text(MARK) == f"{CLUSTER}\n"


def test_blocks_on_this_node_are_evidence(board: Board) -> None:
    board.node.path(POOL).mkdir(parents=True)
    assert f"found the blocks in {POOL};" in refused(board, properties=DATA_DIRS)


def test_a_datanode_that_never_joined_is_no_evidence(board: Board) -> None:
    board.node.path("/mnt/disk/current").mkdir(parents=True)
    board.run(properties=DATA_DIRS)
    assert board.formats == 1


@pytest.mark.parametrize("seen_on", ["red1", "red2"])
def test_what_the_controller_saw_is_evidence(board: Board, seen_on: str) -> None:
    assert f"found the record of {seen_on} in the inventory's seen.json;" in refused(board, formatted_on=[seen_on])


def test_the_data_is_given_up_by_the_right_name_only(board: Board) -> None:
    board.run()
    lose(board)
    assert "pass give_up_data=red1 to format" in refused(board, formatted_on=["red1"], give_up_data="red2")
    board.run(formatted_on=["red1"], give_up_data="red1")
    assert (board.answer["hdfs"], board.formats) == (CLUSTER, 2)


def test_with_all_evidence_the_summary_still_shows_both_ways_out(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    pool = "/var/lib/hadoop/hdfs/data/current/BP-1793491200-192.168.163.211-1793491200000"
    node.path(pool).mkdir(parents=True)
    node.write(MARK, f"{CLUSTER}\n")
    with pytest.raises(UserError) as refusal:
        NameNodeImage(node).refuse_lost("red123", "file:///var/lib/hadoop/hdfs/data", ["red123"])
    said = shortened(str(refusal.value))
    for part in (MARK, pool, "seen.json", "mount or restore", "give_up_data=red123 to format anew"):
        assert part in said


@pytest.mark.parametrize(
    ("owner", "name"),
    [(NameNodeImage, "_create"), (image, "run_tool"), (image, "sync"), (Files, "put"), (Node, "note")],
)
def test_a_run_that_was_killed_at_its_format_is_repaired_by_the_same_command(
    board: Board, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    real = getattr(owner, name)

    def killed(*arguments: Any, **options: Any) -> Any:
        if owner is Files and arguments[1] != MARK:
            return real(*arguments, **options)
        if owner is Node and arguments[1] != NAME_DIR:
            return real(*arguments, **options)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(KilledError):
            board.run()
    board.run(formatted_on=[])
    assert (board.answer["hdfs"], board.formats, board.node.text(MARK)) == (CLUSTER, 1, f"{CLUSTER}\n")


@pytest.mark.parametrize(
    ("value", "folders"),
    [
        ("file:///a/data", ["/a/data"]),
        ("/a/data", ["/a/data"]),
        ("[DISK]file:///a/my%20data, [SSD]/b/data ,", ["/a/my data", "/b/data"]),
    ],
)
def test_hadoops_ways_to_write_a_data_directory_are_read(value: str, folders: list[str]) -> None:
    assert image.parse_data_dirs(value) == folders


@pytest.mark.parametrize(
    ("files", "new"),
    [([], True), (["lost+found/x", ".formatting/x"], True), (["current/VERSION", "current/f", "in_use.lock"], False)],
)
def test_a_name_folder_is_new_until_it_has_an_image(tmp_path: Path, files: list[str], *, new: bool) -> None:
    node = FakeNode(tmp_path)
    for name in files:
        node.write(f"{NAME_DIR}/{name}", "")
    assert NameNodeImage(node).is_new() is new


@pytest.mark.parametrize("name", ["current/fsimage_0", "data/x"])
def test_a_name_folder_with_anything_else_is_refused(tmp_path: Path, name: str) -> None:
    node = FakeNode(tmp_path)
    node.write(f"{NAME_DIR}/{name}", "")
    with pytest.raises(UserError, match=NAME_DIR):
        NameNodeImage(node).is_new()
