# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What the node's kernel and init allow is read from /proc and /sys, in a container and on a Pi."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.machine import (
    Capabilities,
    cmdline_path,
    parse_limits,
    read_capabilities,
)

if TYPE_CHECKING:
    from pathlib import Path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_machine_with_unified_cgroups(tmp_path: Path) -> None:
    write(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
    write(tmp_path, "proc/1/status", "Name:\tsystemd\nCapEff:\t000001ffffffffff\n")
    found = read_capabilities(tmp_path)
    assert found == Capabilities(cgroup_version=2, memory_cgroup=True, may_raise_limits=True)


@pytest.mark.parametrize(("enabled", "expected"), [("1", True), ("0", False)])
def test_machine_with_old_cgroups_in_a_container(tmp_path: Path, enabled: str, expected: object) -> None:
    write(tmp_path, "proc/cgroups", f"#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t9\t{enabled}\n")
    write(tmp_path, "proc/1/status", "CapEff:\t000001fffeffffff\n")
    found = read_capabilities(tmp_path)
    assert (found.cgroup_version, found.memory_cgroup, found.may_raise_limits) == (1, expected, False)


def test_pi_without_the_memory_cgroup_is_seen(tmp_path: Path) -> None:
    write(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    assert not read_capabilities(tmp_path).memory_cgroup
    assert cmdline_path(tmp_path) == "/boot/cmdline.txt"
    (tmp_path / "boot/firmware").mkdir(parents=True)
    assert cmdline_path(tmp_path) == "/boot/firmware/cmdline.txt"
    write(tmp_path, "boot/firmware/current/cmdline.txt", "root=/dev/sda2\n")
    assert cmdline_path(tmp_path) == "/boot/firmware/current/cmdline.txt"


def test_limits_of_init_are_read() -> None:
    text = (
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max core file size        0                    unlimited            bytes     \n"
        "Max processes             96365                96365                processes \n"
        "Max open files            1024                 20000                files     \n"
    )
    assert parse_limits(text) == {"LimitCORE": None, "LimitNPROC": 96365, "LimitNOFILE": 20000}
