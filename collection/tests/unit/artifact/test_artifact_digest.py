# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.artifact import digest
from ansible_collections.picluster.cloud.plugins.module_utils.artifact.digest import (
    ArtifactError,
    Memo,
    parse_checksum,
    parse_checksum_file,
    write_atomically,
)

if TYPE_CHECKING:
    from pathlib import Path

A, B = "a" * 64, "b" * 64
LONG = "c" * 128


@pytest.mark.parametrize(
    ("text", "file", "expected"),
    [
        (f"{A}  k3s\n{B}  k3s-airgap-images-amd64.tar\n", "k3s", f"sha256:{A}"),
        (f"{A} *k3s-armhf\n", "k3s-armhf", f"sha256:{A}"),
        (f"{A}  ./dist/k3s-arm64\n", "k3s-arm64", f"sha256:{A}"),
        (f"{A.upper()}  k3s\r\n", "k3s", f"sha256:{A}"),
        (f"SHA512 (hadoop-3.4.3.tar.gz) = {LONG}\n", "hadoop-3.4.3.tar.gz", f"sha512:{LONG}"),
        (f"SHA512 (hadoop-3.3.6-RC1.tar.gz) = {LONG}\n", "hadoop-3.3.6.tar.gz", f"sha512:{LONG}"),
        (f"SHA256 (a) = {A}\nSHA256 (b) = {B}\n", "b", f"sha256:{B}"),
        (f"{LONG}\n", "anything", f"sha512:{LONG}"),
    ],
)
def test_publishers_formats_are_read(text: str, file: str, expected: str) -> None:
    assert str(parse_checksum_file(text, file)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>not found</html>\n",
        f"{A}  k3s-arm64\n",
        f"{A}  not-k3s\n{B}  k3s-armhf\n",
        f"SHA256 (a) = {A}\nSHA256 (b) = {B}\n",
        "d41d8cd98f00b204e9800998ecf8427e  k3s\n",
    ],
)
def test_a_checksum_file_without_our_file_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="no line for k3s"):
        parse_checksum_file(text, "k3s")


@pytest.mark.parametrize("text", ["md5:" + "a" * 32, "sha512:" + A, "", "sha256:", "z" * 64, "a" * 65])
def test_what_is_no_strong_checksum_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="wanted is sha256"):
        parse_checksum(text)


def test_memo_reads_an_untouched_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, memo = tmp_path / "file", tmp_path / "state/memo.json"
    file.write_bytes(b"one")
    assert Memo(memo).digest(file) == hashlib.sha256(b"one").hexdigest()
    monkeypatch.setattr(digest, "digest", lambda *_: pytest.fail("it was read again"))
    assert Memo(memo).digest(file) == hashlib.sha256(b"one").hexdigest()


def test_memo_sees_a_change_of_the_same_size_and_time(tmp_path: Path) -> None:
    file, memo = tmp_path / "file", tmp_path / "memo.json"
    file.write_bytes(b"one")
    info = file.stat()
    Memo(memo).digest(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert Memo(memo).digest(file) == hashlib.sha256(b"two").hexdigest()


def test_memo_survives_a_broken_state_file(tmp_path: Path) -> None:
    file, memo = tmp_path / "file", tmp_path / "memo.json"
    file.write_bytes(b"one")
    memo.write_text("[1, 2")
    assert Memo(memo).digest(file) == hashlib.sha256(b"one").hexdigest()


def test_a_read_only_memo_writes_nothing(tmp_path: Path) -> None:
    file, memo = tmp_path / "file", tmp_path / "memo.json"
    file.write_bytes(b"one")
    Memo(memo, read_only=True).digest(file)
    assert not memo.exists()


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lock"
    write_atomically(file, "old")

    def no_space(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
