# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The lock: sorted, checked line by line, extended without losing what another run wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.store import (
    LOCK_HEADER,
    parse_lock,
    pin,
    render_lock,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

SHA, OTHER = "a" * 64, "0" * 64
KEY = "k3s/v1/arm64"


def test_lock_is_sorted_and_reads_back(tmp_path: Path) -> None:
    entries = {"k3s/v1/arm64": SHA, "hadoop/3.4.3/amd64": OTHER}
    text = render_lock(entries)
    assert text == f"{LOCK_HEADER}hadoop/3.4.3/amd64: sha256:{OTHER}\nk3s/v1/arm64: sha256:{SHA}\n"
    assert parse_lock(text, tmp_path) == entries


def test_damaged_lock_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"artifacts\.lock line 2 is invalid: 'k3s/v1/arm64: 123'; expected"):
        parse_lock("# header\nk3s/v1/arm64: 123\n", tmp_path / "artifacts.lock")


def test_pinning_keeps_what_another_run_wrote_and_is_done_once(tmp_path: Path) -> None:
    lock = tmp_path / "artifacts.lock"
    lock.write_text(render_lock({"hadoop/3.4.3/amd64": OTHER}))
    before, after = pin(lock, {KEY: SHA}, check_mode=True)
    assert before != after
    assert lock.read_text() == before
    pin(lock, {KEY: SHA}, check_mode=False)
    assert lock.read_text() == after == render_lock({"hadoop/3.4.3/amd64": OTHER, KEY: SHA})
    assert pin(lock, {KEY: SHA}, check_mode=False) == (after, after)
