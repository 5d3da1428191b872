# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.digest import ArtifactError, Memo
from ansible_collections.picluster.cloud.plugins.module_utils.artifact.unpack import inner_path, is_excluded, unpack
from ansible_collections.picluster.cloud.plugins.modules import artifact
from ansible_collections.picluster.cloud.plugins.modules.artifact import (
    STAMP,
    Target,
    install,
    mend,
    parse_mode,
    present,
    read_target,
    sweep,
)

Member = tuple[str, dict[str, Any], bytes]


def archive(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, attributes, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid = len(data), 0o644, 1000
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return path


def directory(name: str) -> Member:
    return name, {"type": tarfile.DIRTYPE}, b""


def plain(name: str, data: bytes = b"x", **more: Any) -> Member:
    return name, more, data


def link(name: str, goal: str, kind: bytes = tarfile.SYMTYPE) -> Member:
    return name, {"type": kind, "linkname": goal}, b""


def hadoop(path: Path, version: bytes = b"one") -> Path:
    return archive(
        path,
        directory("hadoop-3/"),
        plain("hadoop-3/bin/hdfs", version, mode=0o4775),
        plain("hadoop-3/etc/core-site.xml", mode=0o600),
        plain("hadoop-3/share/doc/index.html"),
        link("hadoop-3/lib.so", "lib.so.1"),
        plain("hadoop-3/lib.so.1"),
        link("hadoop-3/hard", "hadoop-3/lib.so.1", tarfile.LNKTYPE),
    )


def tree(tmp_path: Path, source: Path, **more: Any) -> Target:
    return Target(tmp_path / "opt/hadoop", "tree", hashlib.sha256(source.read_bytes()).hexdigest(), **more)


def look(target: Target, tmp_path: Path) -> str:
    return present(target, Memo(tmp_path / "memo.json"))


def test_tree_loses_its_top_directory_and_keeps_exec_bits_only(tmp_path: Path) -> None:
    count = unpack(hadoop(tmp_path / "a.tgz"), tmp_path / "out")
    assert count == 6
    assert (tmp_path / "out/bin/hdfs").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/etc/core-site.xml").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "out/lib.so").readlink() == Path("lib.so.1")
    assert (tmp_path / "out/hard").read_bytes() == b"x"


def test_excluded_paths_are_left_out(tmp_path: Path) -> None:
    unpack(hadoop(tmp_path / "a.tgz"), tmp_path / "out", exclude=["share/doc", "*.xml"])
    assert not (tmp_path / "out/share/doc").exists()
    assert not (tmp_path / "out/etc/core-site.xml").exists()
    assert (tmp_path / "out/bin/hdfs").exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([plain("top/../../etc/passwd")], "outside"),
        ([plain("/etc/passwd")], "outside"),
        ([plain("a/x"), plain("b/x")], "more than one top directory"),
        ([plain("README")], "beside its top directory"),
        ([plain("a/x"), link("a/out", "../../etc")], "points outside"),
        ([plain("a/x"), link("a/out", "/etc/passwd")], "points outside"),
        ([plain("a/b/c/x"), link("a/b/c/up", "../.."), link("a/q", "b/c/up/../../etc")], "points outside"),
        ([plain("a/x"), link("a/hard", "/etc/passwd", tarfile.LNKTYPE)], "outside"),
        ([plain("a/x"), link("a/hard", "a/y", tarfile.LNKTYPE)], "is not in it"),
        ([("a/null", {"type": tarfile.CHRTYPE}, b"")], "neither file nor directory"),
        ([directory("a/")], "holds no files"),
    ],
)
def test_archive_that_no_publisher_would_make_is_refused(tmp_path: Path, members: list[Member], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        unpack(archive(tmp_path / "a.tgz", *members), tmp_path / "out")
    assert not (tmp_path / "etc").exists()


def test_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    source = archive(tmp_path / "a.tgz", link("a/d", "../victim"), plain("a/d/x"))
    with pytest.raises((ArtifactError, OSError)):
        unpack(source, tmp_path / "out")
    assert not list((tmp_path / "victim").iterdir())


def test_damaged_archive_is_refused(tmp_path: Path) -> None:
    source = hadoop(tmp_path / "a.tgz")
    source.write_bytes(source.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="cannot be unpacked"):
        unpack(source, tmp_path / "out")


def test_inner_path_and_patterns() -> None:
    assert inner_path("./top/a/b") == PurePosixPath("a/b")
    assert inner_path("top") is None
    assert is_excluded(PurePosixPath("share/doc/a/b.html"), ["share/doc"])
    assert not is_excluded(PurePosixPath("share/documents"), ["share/doc"])


def test_tree_is_absent_then_as_wanted_then_replaced(tmp_path: Path) -> None:
    first = hadoop(tmp_path / "1.tgz")
    assert look(tree(tmp_path, first), tmp_path) == "absent"
    install(tree(tmp_path, first), first)
    assert look(tree(tmp_path, first), tmp_path) == "as wanted"
    second = hadoop(tmp_path / "2.tgz", b"two")
    assert look(tree(tmp_path, second), tmp_path).startswith("sha256 ")
    install(tree(tmp_path, second), second)
    assert (tmp_path / "opt/hadoop/bin/hdfs").read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "opt").iterdir()] == ["hadoop"]


def test_other_exclusions_mean_another_tree(tmp_path: Path) -> None:
    source = hadoop(tmp_path / "1.tgz")
    install(tree(tmp_path, source), source)
    assert look(tree(tmp_path, source, exclude=("share/doc",)), tmp_path) != "as wanted"


def test_damaged_transfer_changes_nothing(tmp_path: Path) -> None:
    source = hadoop(tmp_path / "1.tgz")
    target = tree(tmp_path, source)
    install(target, source)
    source.write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="run again"):
        install(target, source)
    assert look(target, tmp_path) == "as wanted"


def test_unsound_archive_leaves_the_old_tree_and_no_rubbish(tmp_path: Path) -> None:
    source = hadoop(tmp_path / "1.tgz")
    install(tree(tmp_path, source), source)
    bad = archive(tmp_path / "2.tgz", plain("a/x"), link("a/out", "/etc"))
    with pytest.raises(ArtifactError, match="points outside"):
        install(tree(tmp_path, bad), bad)
    assert look(tree(tmp_path, source), tmp_path) == "as wanted"
    assert [path.name for path in (tmp_path / "opt").iterdir()] == ["hadoop"]


@pytest.mark.parametrize("kind", ["file", "tree"])
def test_what_somebody_else_put_there_is_not_destroyed(tmp_path: Path, kind: str) -> None:
    dest = tmp_path / "opt"
    dest.mkdir()
    (dest / "precious").write_text("data")
    with pytest.raises(ArtifactError, match="move it away"):
        look(Target(dest, kind, "a" * 64), tmp_path)


def test_killed_between_the_two_renames_the_old_tree_comes_back(tmp_path: Path) -> None:
    source = hadoop(tmp_path / "1.tgz")
    target = tree(tmp_path, source)
    install(target, source)
    target.dest.rename(target.old)
    target.fresh.mkdir()
    assert mend(target)
    assert look(target, tmp_path) == "as wanted"
    assert not target.fresh.exists()
    assert not mend(target)


def test_killed_after_both_renames_only_rubbish_goes(tmp_path: Path) -> None:
    source = hadoop(tmp_path / "1.tgz")
    target = tree(tmp_path, source)
    install(target, source)
    target.old.mkdir()
    assert mend(target)
    assert look(target, tmp_path) == "as wanted"
    assert not target.old.exists()


def test_file_is_put_in_place_with_its_mode_and_compared_by_content(tmp_path: Path) -> None:
    source = tmp_path / "k3s"
    source.write_bytes(b"binary")
    target = Target(tmp_path / "bin/k3s-v1", "file", hashlib.sha256(b"binary").hexdigest())
    install(target, source)
    assert target.dest.stat().st_mode & 0o777 == 0o755
    assert look(target, tmp_path) == "as wanted"
    target.dest.chmod(0o700)
    assert look(target, tmp_path) == "mode 0700"
    target.dest.write_bytes(b"other")
    assert look(target, tmp_path) == f"sha256 {hashlib.sha256(b'other').hexdigest()}"


def test_archives_of_killed_runs_are_swept_and_fresh_ones_kept(tmp_path: Path) -> None:
    now = 1_000_000.0
    for name, age in (("mine", 0), ("running", 60), ("abandoned", artifact.ABANDONED_SECONDS + 1)):
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
    with pytest.raises(ArtifactError, match="octal digits"):
        parse_mode(mode)


def test_wrong_sha256_is_named() -> None:
    params = {"artifact": {"sha256": "b" * 128}, "mode": "0755", "exclude": [], "dest": "/x", "kind": "file"}
    with pytest.raises(ArtifactError, match="64 hex digits"):
        read_target(params)


def test_stamp_names_the_archive(tmp_path: Path) -> None:
    source = hadoop(tmp_path / "1.tgz")
    install(tree(tmp_path, source), source)
    assert (tmp_path / "opt/hadoop" / STAMP).read_text() == hashlib.sha256(source.read_bytes()).hexdigest() + "\n"
