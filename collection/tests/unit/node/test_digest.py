# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checksums of large files: read once, and again after any change."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node import digest
from ansible_collections.picluster.cloud.plugins.module_utils.node.digest import Memo

if TYPE_CHECKING:
    from pathlib import Path


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
