# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What the kernel and init of this node allow, read from /proc and /sys."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

# The kernel's words that turn the memory cgroup on, which Raspberry Pi OS turns off.
MEMORY_CGROUP_FLAGS = ("cgroup_memory=1", "cgroup_enable=memory")
# Ubuntu 25.10 keeps the command line of the system that runs beside that of the one it may fall back to.
CMDLINES = ("/boot/firmware/current/cmdline.txt", "/boot/firmware/cmdline.txt", "/boot/cmdline.txt")

# linux/capability.h
_CAP_SYS_RESOURCE = 24
_LIMIT_NAMES = {"Max open files": "LimitNOFILE", "Max processes": "LimitNPROC", "Max core file size": "LimitCORE"}


@dataclass(frozen=True)
class Capabilities:
    """What the node's kernel and its init allow.

    Attributes:
        cgroup_version: 1 or 2.
        memory_cgroup: Whether the memory controller is on.
        may_raise_limits: Whether init may raise limits (CAP_SYS_RESOURCE); a container's often may not.
        hard_limits: Hard limits of init, by systemd's name; absent or None is infinity.
    """

    cgroup_version: int = 2
    memory_cgroup: bool = True
    may_raise_limits: bool = True
    hard_limits: dict[str, int | None] = field(default_factory=dict)


def read_capabilities(root: Path = Path("/")) -> Capabilities:
    """Read what the node's kernel and init allow."""
    controllers = _read(root / "sys/fs/cgroup/cgroup.controllers")
    unified = controllers is not None
    return Capabilities(
        cgroup_version=2 if unified else 1,
        memory_cgroup="memory" in (controllers or "").split() if unified else _v1_memory(root),
        may_raise_limits=bool(_effective_capabilities(root) >> _CAP_SYS_RESOURCE & 1),
        hard_limits=parse_limits(_read(root / "proc/1/limits") or ""),
    )


def _v1_memory(root: Path) -> bool:
    # Columns: name, hierarchy, number of cgroups, enabled.
    lines = (_read(root / "proc/cgroups") or "").splitlines()
    return any(line.split()[0] == "memory" and line.split()[3:4] == ["1"] for line in lines if line.strip())


def _effective_capabilities(root: Path) -> int:
    for line in (_read(root / "proc/1/status") or "").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return -1  # unknown: all of them, as on any ordinary machine


def parse_limits(text: str) -> dict[str, int | None]:
    """Parse /proc/<pid>/limits; return the hard limits by systemd's names, None for unlimited."""
    found: dict[str, int | None] = {}
    for line in text.splitlines():
        for title, name in _LIMIT_NAMES.items():
            if line.startswith(title):
                hard = line[len(title) :].split()[1]
                found[name] = None if hard == "unlimited" else int(hard)
    return found


def cmdline_path(root: Path = Path("/")) -> str:
    """Return the kernel command line's file: Debian 11 and older keep it directly in /boot."""
    found = next((path for path in CMDLINES if (root / path.lstrip("/")).is_file()), "")
    if found:
        return found
    return "/boot/firmware/cmdline.txt" if (root / "boot/firmware").is_dir() else "/boot/cmdline.txt"


def _read(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return None
