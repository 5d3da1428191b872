# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import apply as system
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import image
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import (
    DIRS_UNIT,
    File,
    FormatRefusedError,
    Unit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import Settings

DATANODE = Unit("hadoop-datanode.service", "new", "datanode")


@pytest.fixture
def calls() -> list[list[str]]:
    return []


@pytest.fixture
def node(tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., system.Node]:
    monkeypatch.setattr(system, "NAME_DIR", str(tmp_path / "name"))
    monkeypatch.setattr(system, "LINK", str(tmp_path / "opt/hadoop"))
    monkeypatch.setattr(system, "CONF", str(tmp_path / "etc/hadoop"))
    monkeypatch.setattr(system, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(system, "NOTE", tmp_path / "note")
    monkeypatch.setattr(image, "MARK", str(tmp_path / "lib/hadoop"))
    (tmp_path / "name").mkdir()
    (tmp_path / "opt").mkdir()

    def make(*, check: bool = False, answer: Callable[[list[str]], tuple[int, str, str]] | None = None) -> system.Node:
        def run(command: list[str], **_options: Any) -> tuple[int, str, str]:
            calls.append(command)
            return answer(command) if answer else (0, "", "")

        module = SimpleNamespace(check_mode=check, run_command=run)
        return system.Node(module)

    return make


@pytest.fixture
def process() -> Iterator[int]:
    """A process that was started with inputs 'old'."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], env={"PICLUSTER_INPUTS": "old"}, stdin=subprocess.PIPE)
    yield child.pid
    child.communicate(b"\n")


def settings(*workers: str) -> Settings:
    return cast("Settings", SimpleNamespace(workers=workers))


def test_the_answer_of_systemctl_is_read_by_unit() -> None:
    text = "Id=a.service\nMainPID=7\nActiveState=active\n\nId=b.service\nMainPID=0\nActiveState=inactive\n"
    assert system.parse_show(text)["b.service"] == {"Id": "b.service", "MainPID": "0", "ActiveState": "inactive"}
    assert system.parse_show("") == {}


def test_the_fingerprint_is_found_in_an_environment() -> None:
    assert system.inputs_of(b"A=1\0PICLUSTER_INPUTS=f00\0B=2\0") == "f00"
    assert system.inputs_of(b"A=1\0") == ""


@pytest.mark.parametrize(
    ("found", "verb"),
    [
        ({"ActiveState": "inactive", "MainPID": "0"}, "start"),
        ({"ActiveState": "failed", "MainPID": "0"}, "start"),
        ({}, "start"),
        ({"ActiveState": "activating", "MainPID": "0"}, ""),  # systemd tries again by itself
        ({"ActiveState": "deactivating", "MainPID": "1", "Job": "9"}, ""),
        ({"ActiveState": "deactivating", "MainPID": "0"}, "start"),
    ],
)
def test_what_does_not_run_is_started(node: Callable[..., system.Node], found: dict[str, str], verb: str) -> None:
    assert node()._verb(DATANODE, found) == verb


def test_a_process_is_restarted_for_other_inputs_only(node: Callable[..., system.Node], process: int) -> None:
    found = {"ActiveState": "active", "MainPID": str(process)}
    assert node()._verb(DATANODE, found) == "restart"
    assert node()._verb(Unit(DATANODE.name, "old", "datanode"), found) == ""


def test_hdfs_folders_are_made_again_for_other_wishes_only(node: Callable[..., system.Node], tmp_path: Path) -> None:
    found = {"ActiveState": "active", "MainPID": "0"}
    unit = Unit(DIRS_UNIT, "new")
    assert node()._verb(unit, found) == "restart"
    (tmp_path / "note").write_text("new")
    assert node()._verb(unit, found) == ""


def formatting(tmp_path: Path) -> Callable[[list[str]], tuple[int, str, str]]:
    def answer(command: list[str]) -> tuple[int, str, str]:
        target = next(word for word in command if word.startswith("dfs.namenode.name.dir=file://"))
        folder = Path(target.partition("file://")[2])
        assert folder == tmp_path / "name/.formatting"
        (folder / "current").mkdir(parents=True)
        (folder / "current/VERSION").write_text("clusterID=CID-1")
        return 0, "", ""

    return answer


def test_a_new_namenode_is_formatted_once_and_without_force(
    node: Callable[..., system.Node], tmp_path: Path, calls: list[list[str]]
) -> None:
    first = node(answer=formatting(tmp_path))
    first._format("CID-1")
    assert (tmp_path / "name/current/VERSION").is_file()
    assert not (tmp_path / "name/.formatting").exists()
    assert "-nonInteractive" in calls[0]
    assert calls[0][-2:] == ["-clusterId", "CID-1"]
    assert not any("force" in word for word in calls[0])
    second = node(answer=formatting(tmp_path))
    second._format("CID-1")
    assert (len(calls), second.actions) == (1, [])


def test_a_killed_format_is_begun_anew(node: Callable[..., system.Node], tmp_path: Path) -> None:
    half = tmp_path / "name/.formatting/current"
    half.mkdir(parents=True)
    (half / "VERSION").write_text("half")
    node(answer=formatting(tmp_path))._format("CID-1")
    assert (tmp_path / "name/current/VERSION").read_text() == "clusterID=CID-1"


def test_a_failed_format_leaves_no_image_and_says_why(node: Callable[..., system.Node], tmp_path: Path) -> None:
    with pytest.raises(system.NodeError, match=r"exit code 1\).*no Java"):
        node(answer=lambda _command: (1, "", "no Java"))._format("CID-1")
    assert not (tmp_path / "name/current").exists()


def test_strange_content_is_neither_formatted_nor_touched(
    node: Callable[..., system.Node], tmp_path: Path, calls: list[list[str]]
) -> None:
    (tmp_path / "name/photos").mkdir()
    with pytest.raises(FormatRefusedError):
        node()._format("CID-1")
    assert (tmp_path / "name/photos").is_dir()
    assert calls == []


def test_check_mode_tells_of_the_format_and_does_nothing(
    node: Callable[..., system.Node], tmp_path: Path, calls: list[list[str]]
) -> None:
    checking = node(check=True)
    checking._format("CID-1")
    assert checking.actions == [f"formatted {tmp_path}/name for cluster CID-1"]
    assert calls == []


def test_masters_read_the_workers_again_for_another_name_or_address(
    node: Callable[..., system.Node], tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "DATA", str(tmp_path))
    addresses = {"red2": "10.0.0.2", "red3": "10.0.0.3"}
    monkeypatch.setattr(system, "_address", lambda name: addresses.get(name, ""))
    unit = Unit("hadoop-namenode.service", "new", "namenode")

    def tell(*workers: str, fresh: bool = False, **options: Any) -> list[str]:
        teller = node(**options)
        teller._workers_in_force(unit, settings(*workers), fresh=fresh)
        return teller.actions

    told = ["told hadoop-namenode.service of its workers"]
    assert tell("red2", fresh=True) == []  # it reads the list at its start
    assert tell("red2") == []
    assert tell("red2", "red3", check=True) == told
    assert calls == []
    assert tell("red3", "red2") == told
    assert tell("red2", "red3") == []
    addresses["red3"] = "10.0.0.33"
    assert tell("red2", "red3") == told
    assert "-refreshNodes" in calls[-1]


def test_a_run_that_was_killed_while_it_told_a_master_tells_it_again(
    node: Callable[..., system.Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "DATA", str(tmp_path))
    monkeypatch.setattr(system, "_address", lambda _name: "10.0.0.2")
    unit = Unit("hadoop-namenode.service", "new", "namenode")

    def killed(_command: list[str]) -> tuple[int, str, str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        node(answer=killed)._workers_in_force(unit, settings("red2"), fresh=False)
    again = node()
    again._workers_in_force(unit, settings("red2"), fresh=False)
    assert again.actions == ["told hadoop-namenode.service of its workers"]
    again.actions.clear()
    again._workers_in_force(unit, settings("red2"), fresh=False)
    assert again.actions == []


def test_a_master_that_does_not_listen_is_started_anew(
    node: Callable[..., system.Node], tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "DATA", str(tmp_path))
    monkeypatch.setattr(system, "_address", lambda _name: "10.0.0.2")
    (tmp_path / ".workers-namenode").write_text("other")
    deaf = node(answer=lambda command: (int("-refreshNodes" in command), "", ""))
    deaf._workers_in_force(Unit("hadoop-namenode.service", "new", "namenode"), settings("red2"), fresh=False)
    assert calls[-1] == ["systemctl", "restart", "--no-block", "hadoop-namenode.service"]


def test_the_link_moves_to_another_release_in_one_step(node: Callable[..., system.Node], tmp_path: Path) -> None:
    for release in ("one", "two"):
        (tmp_path / release / "bin").mkdir(parents=True)
        (tmp_path / release / "bin/hdfs").touch()
        mover = node()
        mover._link(str(tmp_path / release))
        assert (tmp_path / "opt/hadoop").readlink() == tmp_path / release
        mover.actions.clear()
        mover._link(str(tmp_path / release))
        assert mover.actions == []


def test_a_link_to_nothing_is_refused(node: Callable[..., system.Node], tmp_path: Path) -> None:
    with pytest.raises(system.NodeError, match="holds no bin/hdfs"):
        node()._link(str(tmp_path / "absent"))


def test_a_secret_is_in_no_diff(
    node: Callable[..., system.Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "_describe", lambda _path: "root:root 0640")
    writer = node(check=True)
    path = tmp_path / "secret"
    path.write_text("old-key")
    writer._file(File(str(path), "new-key\n", mode=0o640, secret=True))
    assert writer.actions == [f"wrote {path}"]
    assert "key" not in str(writer.diffs)


@pytest.mark.skipif(os.geteuid() != 0, reason="owners can be set by root only")
def test_a_file_is_written_once_with_its_mode(node: Callable[..., system.Node], tmp_path: Path) -> None:
    file = File(str(tmp_path / "sub/file"), "text\n", mode=0o640)
    first, second = node(), node()
    assert first._file(file)
    assert not second._file(file)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["file"]
    assert (tmp_path / "sub/file").stat().st_mode & 0o777 == 0o640
    assert second.actions == []


def test_leaving_removes_software_and_never_data(
    node: Callable[..., system.Node], tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = tmp_path / "units/hadoop-datanode.service"
    tree = tmp_path / "opt/hadoop-3.5.0"
    foreign = tmp_path / "opt/hadoop-mine"
    data = tmp_path / "name/current"
    for folder in (unit.parent, tree, foreign, data, tmp_path / "etc/hadoop"):
        folder.mkdir(parents=True)
    unit.write_text("# Managed by picluster.\n")
    (tree / system.STAMP).touch()
    (tmp_path / "opt/hadoop").symlink_to(tree)
    monkeypatch.setattr(system, "software", lambda: (str(unit),))
    leaving = node()
    leaving.remove()
    assert calls[0][:3] == ["systemctl", "disable", "--now"]
    assert not unit.exists()
    assert not tree.exists()
    assert foreign.is_dir()
    assert data.is_dir()
    calls.clear()
    again = node()
    again.remove()
    assert (again.actions, calls) == ([], [])


def test_a_full_card_is_one_sentence(
    node: Callable[..., system.Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(system, "write_atomically", full)
    with pytest.raises(system.NodeError, match=r"x\.xml cannot be written: No space left on device; check the card"):
        node()._file(File(str(tmp_path / "x.xml"), "text\n"))
