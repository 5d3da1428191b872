"""The record of what the controller saw of each node."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_seen_is_known_to_the_next_run(tmp_path: Path) -> None:
    with Seen(tmp_path).edit() as nodes:
        nodes["red1"] = {"addresses": ["10.0.0.1"]}
    assert Seen(tmp_path).nodes() == {"red1": {"addresses": ["10.0.0.1"]}}


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    with Seen(tmp_path).edit():
        pass
    assert not Seen(tmp_path).path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"red1": 7}'])
def test_a_broken_record_is_none(tmp_path: Path, text: str) -> None:
    Seen(tmp_path).path.write_text(text)
    assert Seen(tmp_path).nodes() == {}


def test_a_failed_edit_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    with contextlib.suppress(RuntimeError), Seen(tmp_path).edit() as nodes:
        nodes["red1"] = {}
        raise RuntimeError
    assert Seen(tmp_path).nodes() == {}


def test_nodes_that_are_seen_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    def see(name: str) -> None:
        with Seen(tmp_path).edit() as nodes:
            nodes[name] = {"machine_id": name}

    threads = [threading.Thread(target=see, args=(f"red{number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Seen(tmp_path).nodes()) == 20


def test_a_node_that_has_arrived_is_sought_nowhere_else(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    with seen.edit() as nodes:
        nodes["red1"] = {"addresses": ["10.0.0.1", "10.0.0.2"], "machine_id": "x"}
    seen.settle("red1", "10.0.0.2")
    assert seen.nodes() == {"red1": {"addresses": ["10.0.0.2"], "machine_id": "x"}}


def test_a_node_that_stays_where_it_is_writes_nothing(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    seen.settle("red1", "10.0.0.1")
    before = seen.path.stat()
    seen.settle("red1", "10.0.0.1")
    assert (seen.path.stat().st_ino, seen.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
