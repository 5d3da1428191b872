# Copyright 2026 picluster contributors
# SPDX-License-Identifier: Apache-2.0
"""An empty name directory: a new NameNode, or one that lost its image?"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import apply as system
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import image
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import NAME_DIR
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import FormatRefusedError, Plan
from ansible_collections.picluster.cloud.plugins.modules.hadoop_node import (
    DEFAULT_HEAPS,
    DEFAULT_MEMORY,
    read_settings,
)
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.summary import shortened

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import Settings

CLUSTER = "CID-1"


class KilledError(BaseException):
    """The run was killed."""


class Board:
    """The NameNode's node: its files below a folder, and a hdfs that formats where it is told."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name, self.mark, self.data = root / "hdfs/name", root / "lib/hadoop", root / "hdfs/data"
        self.formats = 0
        monkeypatch.setattr(system, "NAME_DIR", str(self.name))
        monkeypatch.setattr(image, "MARK", str(self.mark))
        self.settings = self._settings()
        # What surrounds the image is not the subject: no accounts, no link, no units.
        for method in ("_refuse_foreign", "_accounts", "_link", "_stop_units", "_drop", "_units"):
            monkeypatch.setattr(system.Node, method, lambda *_: [])

    def _settings(self) -> Settings:
        params: dict[str, Any] = dict.fromkeys(("home", "release", "java_home"), "")
        params |= dict.fromkeys(("replication", "block_size", "disk_reserved", "vcores"), 1)
        params |= {"node": "red1", "master": "red1", "workers": ["red1"], "daemons": ["namenode", "datanode"]}
        params |= {"memory": DEFAULT_MEMORY, "heaps": DEFAULT_HEAPS, "users": []}
        params["properties"] = {"hdfs-site": {"dfs.datanode.data.dir": f"[SSD]file://{self.data},/mnt/absent"}}
        return read_settings(params)

    def run(self, *, check: bool = False, **options: Any) -> system.Node:
        """One run of the module's part that matters here; a real run makes the directory before it formats."""

        def command(words: list[str], **_options: Any) -> tuple[int, str, str]:
            self.formats += 1
            scratch = Path(next(word for word in words if "file://" in word).partition("file://")[2])
            (scratch / "current").mkdir(parents=True)
            (scratch / "current/VERSION").write_text(f"layoutVersion=-66\nclusterID={words[-1]}\n")
            return 0, "", ""

        node = system.Node(SimpleNamespace(check_mode=check, run_command=command))
        before = (self.name.exists(), self.formats)
        try:
            node.converge(Plan(), self.settings, CLUSTER, **options)
        except FormatRefusedError:
            assert (self.name.exists(), self.formats) == before
            assert node.actions == []
            raise
        return node


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(tmp_path, monkeypatch)


def lose(board: Board) -> Path:
    return board.name.rename(board.name.with_name("elsewhere"))


def test_a_new_node_is_formatted_and_marked_and_then_nothing_changes(board: Board) -> None:
    first = board.run()
    assert first.actions == [
        f"formatted {board.name} for cluster {CLUSTER}",
        f"recorded in {board.mark} that HDFS is formatted",
    ]
    assert (first.hdfs, board.mark.read_text()) == (CLUSTER, f"{CLUSTER}\n")
    second = board.run()
    assert (second.actions, second.hdfs, board.formats) == ([], CLUSTER, 1)


def test_check_mode_reports_the_format_of_a_new_node(board: Board) -> None:
    checked = board.run(check=True)
    assert (checked.actions, checked.hdfs) == ([f"formatted {board.name} for cluster {CLUSTER}"], "")
    assert not board.name.exists()
    assert not board.mark.exists()


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("gone", ["unmounted", "removed"])
def test_a_node_with_the_mark_and_no_image_is_refused_until_the_directory_is_back(
    board: Board, gone: str, *, check: bool
) -> None:
    board.run()
    elsewhere = lose(board)
    if gone == "unmounted":
        board.name.mkdir()
    with pytest.raises(FormatRefusedError, match=rf"{board.name} on red1 contains no .*found the mark {board.mark};"):
        board.run(check=check)
    if gone == "unmounted":
        board.name.rmdir()
    elsewhere.rename(board.name)
    assert (board.run().actions, board.formats) == ([], 1)


def test_a_cluster_from_before_the_mark_gets_it_with_its_next_run(board: Board) -> None:
    board.run()
    board.mark.unlink()
    assert board.run(check=True).actions == [f"recorded in {board.mark} that HDFS is formatted"]
    assert not board.mark.exists()
    board.run()
    assert board.mark.read_text() == f"{CLUSTER}\n"


def test_blocks_on_this_node_are_evidence(board: Board) -> None:
    pool = board.data / "current/BP-1-10.0.0.1-1"
    pool.mkdir(parents=True)
    with pytest.raises(FormatRefusedError, match=f"found the blocks in {pool};"):
        board.run()


def test_a_datanode_that_never_joined_is_no_evidence(board: Board) -> None:
    (board.data / "current").mkdir(parents=True)
    board.run()
    assert board.formats == 1


@pytest.mark.parametrize("seen_on", ["red1", "red2"])
def test_what_the_controller_saw_is_evidence(board: Board, seen_on: str) -> None:
    with pytest.raises(FormatRefusedError, match=rf"found the record of {seen_on} in .*seen\.json;"):
        board.run(formatted_on=[seen_on])


def test_the_data_is_given_up_by_the_right_name_only(board: Board) -> None:
    board.run()
    lose(board)
    with pytest.raises(FormatRefusedError, match="pass -e hadoop_give_up_data=red1 to format"):
        board.run(formatted_on=["red1"], give_up_data="red2")
    assert board.run(formatted_on=["red1"], give_up_data="red1").hdfs == CLUSTER
    assert board.formats == 2


def test_with_all_evidence_the_summary_still_shows_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Path("/var/lib/hadoop/hdfs/data/current/BP-1793491200-192.168.163.211-1793491200000")
    monkeypatch.setattr(image, "marked_for", lambda: CLUSTER)
    monkeypatch.setattr(image, "block_pools", lambda _dirs: [pool])
    with pytest.raises(FormatRefusedError) as refused:
        image.refuse_lost("red123", NAME_DIR, "", ["red123"])
    said = shortened(str(refused.value))
    for part in (
        image.MARK,
        str(pool),
        "seen.json",
        "mount or restore",
        "-e hadoop_give_up_data=red123 to format anew",
    ):
        assert part in said


@pytest.mark.parametrize("killed_in", ["_make_image", "_run", "write_atomically"])
def test_a_run_that_was_killed_at_its_format_is_repaired_by_the_same_command(
    board: Board, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(system if killed_in == "write_atomically" else system.Node, killed_in, killed)
        with pytest.raises(KilledError):
            board.run()
    assert board.run(formatted_on=[]).hdfs == CLUSTER
    assert (board.formats, board.mark.read_text()) == (1, f"{CLUSTER}\n")


@pytest.mark.parametrize(
    ("value", "folders"),
    [
        ("file:///a/data", ["a"]),
        ("/a/data", ["a"]),
        ("[DISK]file:///a/data, [SSD]/b/data ,", ["a", "b"]),
    ],
)
def test_hadoops_ways_to_write_a_data_directory_are_read(tmp_path: Path, value: str, folders: list[str]) -> None:
    wanted = []
    for folder in folders:
        wanted.append(tmp_path / folder / "data/current/BP-1")
        wanted[-1].mkdir(parents=True)
    assert image.block_pools(value.replace("/a/", f"{tmp_path}/a/").replace("/b/", f"{tmp_path}/b/")) == wanted
