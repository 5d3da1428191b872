"""For the tests of Linux: what lsblk, mountinfo and /proc/swaps say, in one line each."""

from __future__ import annotations

import json
from typing import Any

MIB = 1 << 20


def disk(name: str, number: str, *children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kname": name,
        "maj:min": number,
        "type": "disk",
        "size": 32_000_000_000,
        "ro": False,
        "rm": False,
        "hotplug": False,
        "children": list(children),
        **fields,
    }


def part(name: str, number: str, *children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return disk(name, number, *children, **{"type": "part", "size": 1 << 30, **fields})


def told(*entries: dict[str, Any]) -> str:
    return json.dumps({"blockdevices": entries})


def mount(number: str, point: str, kind: str = "ext4", source: str = "none", root: str = "/") -> str:
    return f"36 35 {number} {root} {point} rw,noatime shared:1 master:2 - {kind} {source} rw\n"


def swaps(*paths: str) -> str:
    return "Filename\t\t\tType\t\tSize\tUsed\tPriority\n" + "".join(f"{path}  partition\t1\t0\t-2\n" for path in paths)
