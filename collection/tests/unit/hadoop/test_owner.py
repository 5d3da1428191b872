# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import apply as system
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import CONF, Memory, Settings
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.owner import STAMP, file_is_ours
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import Plan, make_plan
from ansible_collections.picluster.cloud.plugins.modules import hadoop_node

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MASTER = Settings(
    node="red1",
    master="red1",
    workers=("red2",),
    daemons=("namenode",),
    home="/opt/hadoop-3.5.0",
    release="abc",
    java_home="/usr/lib/jvm/default-java",
    replication=0,
    block_size=64 << 20,
    disk_reserved=2 << 30,
    vcores=4,
    memory=Memory(**hadoop_node.DEFAULT_MEMORY),
    heaps=hadoop_node.DEFAULT_HEAPS,
    users=("pi",),
)
SITE = '<?xml version="1.0"?>\n<!-- Managed by picluster. -->\n<configuration />\n'
FOREIGN_SITE = '<?xml version="1.0"?>\n<configuration />\n'


@pytest.fixture
def calls() -> list[list[str]]:
    return []


@pytest.fixture
def node(tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., system.Node]:
    for name, folder in {"LINK": "opt/hadoop", "CONF": "etc/hadoop", "UNITS": "units"}.items():
        monkeypatch.setattr(system, name, str(tmp_path / folder))

    def make(*, check: bool = False) -> system.Node:
        def run(command: list[str], **_options: Any) -> tuple[int, str, str]:
            calls.append(command)
            return 0, "", ""

        return system.Node(SimpleNamespace(check_mode=check, run_command=run))

    return make


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Path]]:
    """A node with Hadoop's files, whose core-site.xml, command and unit are as given; the link leads to `release`."""

    def make(site: str, head: str, *, stamped: bool) -> dict[str, Path]:
        conf, release = tmp_path / "etc/hadoop", tmp_path / "opt/hadoop-3.4.0"
        for folder in (conf, tmp_path / "units", tmp_path / "bin", release / "bin"):
            folder.mkdir(parents=True)
        texts = {
            conf / "core-site.xml": site,
            conf / "workers": "red2\n",
            conf / "http-secret": "key\n",
            conf / "hdfs-dirs.json": "{}\n",
            tmp_path / "bin/hdfs": f"#!/bin/sh\n{head}",
            tmp_path / "units/hadoop-datanode.service": f"{head}[Unit]\n",
        }
        for path, text in texts.items():
            path.write_text(text)
        (release / "bin/hdfs").touch()
        if stamped:
            (release / STAMP).touch()
        (tmp_path / "opt/hadoop").symlink_to(release)
        monkeypatch.setattr(system, "software", lambda: tuple(str(path) for path in texts))
        return {path.name: path for path in texts} | {"link": tmp_path / "opt/hadoop", "release": release}

    return make


def test_leaving_takes_every_file_that_is_ours(
    node: Callable[..., system.Node], tree: Callable[..., dict[str, Path]]
) -> None:
    paths = tree(SITE, "# Managed by picluster.\n", stamped=True)
    leaving = node()
    leaving.remove()
    assert [name for name, path in paths.items() if os.path.lexists(path)] == []
    removed = [action for action in leaving.actions if ".xml" in action or "workers" in action]
    assert removed[-1].endswith("core-site.xml")  # a killed removal still knows whose the list of workers is


def test_anothers_hadoop_on_a_node_that_leaves_is_not_touched(
    node: Callable[..., system.Node], tree: Callable[..., dict[str, Path]], calls: list[list[str]]
) -> None:
    paths = tree(FOREIGN_SITE, "# by hand\n", stamped=False)
    leaving = node()
    leaving.remove()
    assert [name for name, path in paths.items() if not os.path.lexists(path)] == []
    assert (leaving.actions, calls) == ([], [])


def test_of_a_mixed_node_only_ours_is_removed_and_stopped(
    node: Callable[..., system.Node], tree: Callable[..., dict[str, Path]], calls: list[list[str]]
) -> None:
    paths = tree(SITE, "# by hand\n", stamped=False)
    node().remove()
    left = {name for name, path in paths.items() if os.path.lexists(path)}
    assert left == {"hdfs", "hadoop-datanode.service", "link", "release"}
    assert calls == [["systemctl", "daemon-reload"]]


@pytest.mark.parametrize("check", [False, True])
def test_a_node_with_anothers_hadoop_is_refused_before_the_first_change(
    node: Callable[..., system.Node], tree: Callable[..., dict[str, Path]], calls: list[list[str]], *, check: bool
) -> None:
    tree(FOREIGN_SITE, "# by hand\n", stamped=False)
    coming = node(check=check)
    wanted = cast("Settings", SimpleNamespace(home="/opt/hadoop-3.5.0"))
    with pytest.raises(system.NodeError, match=r"core-site\.xml, .*workers, .* and 4 more on this node are not pic"):
        coming.converge(Plan(), wanted, "CID-1")
    assert (coming.actions, calls) == ([], [])


def test_a_link_that_picluster_did_not_make_is_refused(
    node: Callable[..., system.Node], tree: Callable[..., dict[str, Path]]
) -> None:
    paths = tree(SITE, "# Managed by picluster.\n", stamped=False)
    with pytest.raises(system.NodeError, match="opt/hadoop on this node is not picluster's"):
        node()._refuse_foreign("/opt/hadoop-3.5.0")
    node()._refuse_foreign(str(paths["release"]))  # unpacked by other means, and given as home
    (paths["release"] / STAMP).touch()
    node()._refuse_foreign("/opt/hadoop-3.5.0")
    paths["link"].unlink()
    paths["link"].mkdir()
    with pytest.raises(system.NodeError, match="opt/hadoop on this node is not picluster's"):
        node()._refuse_foreign("/opt/hadoop-3.5.0")


def test_a_link_to_a_tree_that_is_gone_is_ours_where_the_configuration_is(
    node: Callable[..., system.Node], tree: Callable[..., dict[str, Path]]
) -> None:
    paths = tree(SITE, "# Managed by picluster.\n", stamped=False)
    paths["release"].rename(paths["release"].with_name("gone"))
    node()._refuse_foreign("/opt/hadoop-3.5.0")
    paths["core-site.xml"].write_text(FOREIGN_SITE)
    with pytest.raises(system.NodeError, match="not picluster's"):
        node()._refuse_foreign("/opt/hadoop-3.5.0")


def test_every_file_of_a_plan_is_recognised_as_ours_when_it_is_there(tmp_path: Path) -> None:
    for daemons in (("namenode", "resourcemanager", "historyserver", "datanode", "nodemanager"), ("datanode",)):
        plan = make_plan(dataclasses.replace(MASTER, daemons=daemons), "key", "script")
        anchor = tmp_path / CONF.lstrip("/") / "core-site.xml"
        for file in plan.files:  # in the order in which they are written: a killed run leaves nothing in doubt
            path = tmp_path / file.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.content)
            assert file_is_ours(path, anchor), file.path
