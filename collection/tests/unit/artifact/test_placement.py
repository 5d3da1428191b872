# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""An artifact's place on a node: filled by a rename, repaired after a killed run, never another's destroyed."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest
from archives import archive, hadoop, link, plain
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.apply import (
    ABANDONED_SECONDS,
    AS_DESIRED,
    STAMP,
    Placement,
    Target,
    read_target,
    sweep,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.modules.artifact import converge

if TYPE_CHECKING:
    from pathlib import Path

DEST = "/opt/hadoop"
OPTIONS: dict[str, Any] = {"dest": DEST, "kind": "tree", "mode": "0755", "exclude": [], "incoming": None}


def sha256(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()


def tree(node: FakeNode, source: Path, **more: Any) -> Placement:
    return Placement(node, Target(DEST, "tree", sha256(source), **more))


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path / "node")


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return hadoop(tmp_path / "1.tgz")


def names(node: FakeNode) -> list[str]:
    return [path.name for path in node.path("/opt").iterdir()]


def test_tree_is_absent_then_as_desired_then_replaced(node: FakeNode, tmp_path: Path, first: Path) -> None:
    assert tree(node, first).state() == "absent"
    tree(node, first).install(first)
    assert tree(node, first).state() == AS_DESIRED
    second = hadoop(tmp_path / "2.tgz", b"two")
    assert tree(node, second).state().startswith("sha256 ")
    tree(node, second).install(second)
    assert node.text(f"{DEST}/bin/hdfs") == "two"
    assert names(node) == ["hadoop"]


def test_other_exclusions_mean_another_tree(node: FakeNode, first: Path) -> None:
    tree(node, first).install(first)
    assert tree(node, first, exclude=("share/doc",)).state() != AS_DESIRED


def test_damaged_transfer_changes_nothing(node: FakeNode, first: Path) -> None:
    placement = tree(node, first)
    placement.install(first)
    first.write_bytes(b"damaged")
    with pytest.raises(UserError, match=f"^{DEST} was not installed: received sha256 .*; run again"):
        placement.install(first)
    assert placement.state() == AS_DESIRED


def test_unsafe_archive_leaves_the_old_tree_and_nothing_else(node: FakeNode, tmp_path: Path, first: Path) -> None:
    tree(node, first).install(first)
    bad = archive(tmp_path / "2.tgz", plain("a/x"), link("a/out", "/etc"))
    with pytest.raises(UserError, match=f"^{DEST} was not installed: the archive is unsafe: .* points outside"):
        tree(node, bad).install(bad)
    assert tree(node, first).state() == AS_DESIRED
    assert names(node) == ["hadoop"]


@pytest.mark.parametrize("kind", ["file", "tree"])
def test_a_directory_of_the_user_is_not_destroyed(node: FakeNode, kind: str) -> None:
    node.write("/opt/precious", "data")
    with pytest.raises(UserError, match=r"^/opt .*; move it away"):
        Placement(node, Target("/opt", kind, "a" * 64)).state()


def test_killed_between_the_two_renames_the_old_tree_comes_back(node: FakeNode, first: Path) -> None:
    placement = tree(node, first)
    placement.install(first)
    node.path(DEST).rename(node.path("/opt/.hadoop.picluster-old"))
    node.path("/opt/.hadoop.picluster-new").mkdir()
    placement.repair()
    assert placement.state() == AS_DESIRED
    assert names(node) == ["hadoop"]
    assert len(node.diff) == 1
    placement.repair()
    assert len(node.diff) == 1


def test_killed_after_both_renames_only_the_remains_go(node: FakeNode, first: Path) -> None:
    placement = tree(node, first)
    placement.install(first)
    node.path("/opt/.hadoop.picluster-old").mkdir()
    node.check_mode = True
    placement.repair()
    assert len(names(node)) == 2
    node.check_mode = False
    placement.repair()
    assert placement.state() == AS_DESIRED
    assert names(node) == ["hadoop"]


def test_file_is_put_in_place_with_its_mode_and_compared_by_content(node: FakeNode, tmp_path: Path) -> None:
    source = tmp_path / "k3s"
    source.write_bytes(b"binary")
    placement = Placement(node, Target("/bin/k3s-v1", "file", sha256(source)))
    placement.install(source)
    place = node.path("/bin/k3s-v1")
    assert place.stat().st_mode & 0o777 == 0o755
    assert placement.state() == AS_DESIRED
    place.chmod(0o700)
    assert placement.state() == "mode 0700"
    placement.set_mode()
    assert placement.state() == AS_DESIRED
    place.write_bytes(b"other")
    assert placement.state() == f"sha256 {hashlib.sha256(b'other').hexdigest()}"


def test_a_place_that_cannot_be_written_is_one_sentence(node: FakeNode, first: Path) -> None:
    node.write("/opt", "a file")
    with pytest.raises(UserError, match=f"^{DEST} cannot be put in place: "):
        tree(node, first).install(first)


def test_archives_of_killed_runs_are_swept_and_fresh_ones_kept(tmp_path: Path) -> None:
    now = 1_000_000.0
    for name, age in (("mine", 0), ("running", 60), ("abandoned", ABANDONED_SECONDS + 1)):
        place = tmp_path / f"ansible-tmp-{name}"
        place.mkdir()
        (place / "picluster-artifact").write_text("x")
        os.utime(place / "picluster-artifact", (now - age, now - age))
    (tmp_path / "ansible-tmp-foreign").mkdir()
    sweep(tmp_path / "ansible-tmp-mine/picluster-artifact", now)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ansible-tmp-foreign",
        "ansible-tmp-mine",
        "ansible-tmp-running",
    ]


@pytest.mark.parametrize("mode", ["rwx", "", "1755", "-1", "9"])
def test_wrong_mode_is_named(mode: str) -> None:
    with pytest.raises(UserError, match=f"mode is invalid: '{mode}'; expected octal digits"):
        read_target({**OPTIONS, "artifact": {"sha256": "b" * 64}, "mode": mode})


def test_wrong_sha256_is_named() -> None:
    with pytest.raises(UserError, match="64 hex digits"):
        read_target({**OPTIONS, "artifact": {"sha256": "b" * 128}})


@pytest.mark.parametrize("dest", ["/", "", "opt/hadoop"])
def test_a_destination_without_a_name_or_a_root_is_named(dest: str) -> None:
    with pytest.raises(UserError, match=r"dest is invalid: .*; expected an absolute path"):
        read_target({**OPTIONS, "artifact": {"sha256": "b" * 64}, "dest": dest})


def test_stamp_names_the_archive(node: FakeNode, first: Path) -> None:
    tree(node, first).install(first)
    assert node.text(f"{DEST}/{STAMP}") == sha256(first) + "\n"


def test_the_module_requests_the_file_once_and_a_second_run_changes_nothing(node: FakeNode, first: Path) -> None:
    options = {**OPTIONS, "artifact": {"sha256": sha256(first), "version": "3.4.3"}}
    answer = {"dest": DEST, "version": "3.4.3"}
    assert converge(node, options) == answer | {"transfer": True}
    assert not node.path(DEST).exists()
    node.diff.clear()
    assert converge(node, options | {"incoming": str(first)}) == answer
    assert node.diff == [
        {
            "before_header": DEST,
            "after_header": DEST,
            "before": "absent\n",
            "after": f"3.4.3 sha256 {sha256(first)}\n",
        }
    ]
    node.diff.clear()
    assert converge(node, options) == answer
    assert node.diff == []


def test_check_mode_needs_no_checksum_and_changes_nothing(node: FakeNode) -> None:
    options = {**OPTIONS, "artifact": {"sha256": "", "version": "3.4.3"}}
    with pytest.raises(UserError, match=r"artifact\.sha256 is empty"):
        converge(node, options)
    node.check_mode = True
    assert converge(node, options) == {"dest": DEST, "version": "3.4.3"}
    assert node.diff[0]["after"] == "3.4.3 sha256 not known yet\n"
    assert not node.root.exists()
