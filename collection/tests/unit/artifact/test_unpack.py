# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Release archives: unpacked without their top directory, refused where no publisher would make them so."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from archives import Member, archive, directory, hadoop, link, plain

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.unpack import inner_path, is_excluded, unpack
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable


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
        ([plain("top/../../etc/passwd")], "would be written outside"),
        ([plain("/etc/passwd")], "would be written outside"),
        ([plain("a/x"), plain("b/x")], "more than one top directory"),
        ([plain("README")], "a file beside its top directory"),
        ([plain("a/x"), link("a/out", "../../etc")], "points outside"),
        ([plain("a/x"), link("a/out", "/etc/passwd")], "points outside"),
        ([plain("a/b/c/x"), link("a/b/c/up", "../.."), link("a/q", "b/c/up/../../etc")], "points outside"),
        ([plain("a/x"), link("a/hard", "/etc/passwd", tarfile.LNKTYPE)], "would be written outside"),
        ([plain("a/x"), link("a/hard", "a/y", tarfile.LNKTYPE)], "is not in it"),
        ([("a/null", {"type": tarfile.CHRTYPE}, b"")], "neither a file, a directory nor a link"),
        ([directory("a/")], "contains no files"),
    ],
)
def test_archive_that_no_publisher_would_make_is_refused(tmp_path: Path, members: list[Member], message: str) -> None:
    with pytest.raises(UserError, match=message):
        unpack(archive(tmp_path / "a.tgz", *members), tmp_path / "out")
    assert not (tmp_path / "etc").exists()


def test_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    source = archive(tmp_path / "a.tgz", link("a/d", "../victim"), plain("a/d/x"))
    with pytest.raises((UserError, OSError)):
        unpack(source, tmp_path / "out")
    assert not list((tmp_path / "victim").iterdir())


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zeroed(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(64) + data[middle + 64 :]


@pytest.mark.parametrize(
    ("damage", "compress"),
    [
        (truncated, gzip.compress),
        (truncated, bz2.compress),
        (truncated, lzma.compress),
        # gzip notices only at the end of its stream, which tarfile does not read to.
        (zeroed, bz2.compress),
        (zeroed, lzma.compress),
        (lambda data: data[:100], gzip.compress),
        (lambda _data: b"no archive", gzip.compress),
    ],
)
def test_damaged_archive_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], compress: Callable[[bytes], bytes]
) -> None:
    big = "".join(map(str, range(100_000))).encode()
    source = archive(tmp_path / "a.tgz", plain("top/big", big))
    source.write_bytes(damage(compress(gzip.decompress(source.read_bytes()))))
    with pytest.raises(UserError, match="the archive is damaged"):
        unpack(source, tmp_path / "out")


def test_a_name_with_a_null_byte_is_refused() -> None:
    with pytest.raises(UserError, match="would be written outside"):
        inner_path("top/a\0b")


def test_inner_path_and_patterns() -> None:
    assert inner_path("./top/a/b") == PurePosixPath("a/b")
    assert inner_path("top") is None
    assert is_excluded(PurePosixPath("share/doc/a/b.html"), ["share/doc"])
    assert not is_excluded(PurePosixPath("share/documents"), ["share/doc"])
