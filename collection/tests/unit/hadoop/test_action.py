# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What the controller remembers of HDFS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.action import hadoop_node
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from pathlib import Path

CLUSTER = "CID-1"


class Run:
    """One call of the action on a node whose module gives a set answer."""

    def __init__(self, folder: Path) -> None:
        self.folder: Path | None = folder
        self.answer: dict[str, Any] = {"changed": False, "hdfs": CLUSTER}
        self.sent: dict[str, Any] = {}

    def __call__(self, name: str = "red1", *, check: bool = False, **args: Any) -> dict[str, Any]:
        action = object.__new__(hadoop_node.ActionModule)
        given = {"daemons": ["namenode"], "cluster_id": CLUSTER, **args}
        action._task = SimpleNamespace(args=given, check_mode=check, async_val=0)
        action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))

        def execute(*, module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
            self.sent = module_args
            return self.answer

        action._execute_module = execute
        action._remove_tmp_path = lambda _path: None
        variables = {"inventory_hostname": name, "inventory_dir": self.folder and str(self.folder)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
            return action.run(task_vars=variables)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_an_image_that_was_seen_is_told_to_the_next_run_of_any_node(run: Run, tmp_path: Path) -> None:
    run()
    assert run.sent["formatted_on"] == []
    assert Seen(tmp_path).nodes() == {"red1": {"hdfs": CLUSTER, "layers": ["hadoop"]}}
    run("red2")
    assert run.sent["formatted_on"] == ["red1"]


def test_a_run_that_failed_after_its_format_is_remembered(run: Run, tmp_path: Path) -> None:
    run.answer = {"failed": True, "hdfs": CLUSTER}
    run()
    assert Seen(tmp_path).nodes() == {"red1": {"hdfs": CLUSTER}}


@pytest.mark.parametrize("answer", [{"failed": True, "hdfs": ""}, {"unreachable": True}])
def test_a_node_without_an_image_is_not_recorded(run: Run, tmp_path: Path, answer: dict[str, Any]) -> None:
    run.answer = answer
    run()
    assert not Seen(tmp_path).path.exists()


def test_another_cluster_is_no_evidence(run: Run) -> None:
    run()
    run(cluster_id="CID-2")
    assert run.sent["formatted_on"] == []


def test_what_else_was_seen_stays_and_an_ordinary_run_writes_nothing(run: Run, tmp_path: Path) -> None:
    with Seen(tmp_path).edit() as nodes:
        nodes["red1"] = {"machine_id": "x"}
    run()
    assert Seen(tmp_path).nodes() == {"red1": {"machine_id": "x", "hdfs": CLUSTER, "layers": ["hadoop"]}}
    before = Seen(tmp_path).path.stat().st_ino
    run()
    assert Seen(tmp_path).path.stat().st_ino == before


def test_check_mode_asks_the_record_and_writes_none(run: Run, tmp_path: Path) -> None:
    run(check=True)
    assert not Seen(tmp_path).path.exists()
    run()
    run(check=True)
    assert run.sent["formatted_on"] == ["red1"]


def test_a_worker_and_a_node_without_an_inventorys_folder_have_no_part_in_it(run: Run, tmp_path: Path) -> None:
    run("red2", daemons=["datanode"])
    assert "formatted_on" not in run.sent
    assert Seen(tmp_path).nodes() == {"red2": {"layers": ["hadoop"]}}
    run.folder = None
    run()
    assert "formatted_on" not in run.sent
    assert list(Seen(tmp_path).nodes()) == ["red2"]


def test_a_node_that_left_the_groups_has_no_hadoop_any_more(run: Run, tmp_path: Path) -> None:
    run()
    run(daemons=[])
    assert Seen(tmp_path).nodes() == {"red1": {"hdfs": CLUSTER, "layers": []}}


def test_a_record_that_cannot_be_kept_is_a_warning(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("ansible.utils.display.Display.warning", lambda _self, text: said.append(text))
    run.folder = tmp_path / "gone"
    (layer,) = run()["warnings"]
    assert layer.endswith("a slip that removes hadoop will not be noticed")
    (warning,) = said
    assert warning == (
        f"{run.folder}/seen.json cannot be written: No such file or directory; "
        "without the record of red1 a later run may format an HDFS whose image is lost"
    )
