# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""End what k3s leaves running when its service stops: pods survive it on purpose (KillMode=process).

The steps are those of k3s-killall.sh from k3s's install.sh; data and images are kept.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# A shim of Docker's containerd names another socket, and is none of our business.
SOCKET = "/run/k3s/containerd/containerd.sock"
_MOUNTS = ("/run/k3s", "/var/lib/kubelet/pods", "/var/lib/kubelet/plugins", "/run/netns/cni-")
_LINKS = re.compile(r"^(cni0|flannel[.-][^@:]*|kube-ipvs0)$")
_RULES = re.compile(r"KUBE-|CNI-|flannel", re.IGNORECASE)
_TIMEOUT = 30.0


def shims(processes: dict[int, tuple[int, str]]) -> set[int]:
    """Find k3s's container shims and all their descendants.

    Args:
        processes: Process id -> (parent's id, command line).
    """
    found = {pid for pid, (_parent, line) in processes.items() if "containerd-shim" in line and SOCKET in line}
    while True:
        more = {pid for pid, (parent, _line) in processes.items() if parent in found} - found
        if not more:
            return found
        found |= more


def own_mounts(mounts: str) -> list[str]:
    """Find the mount points of pods in /proc/self/mounts, innermost first."""
    points = [line.split()[1].replace("\\040", " ") for line in mounts.splitlines() if line.strip()]
    return sorted({point for point in points if point.startswith(_MOUNTS)}, reverse=True)


def own_links(names: Iterable[str]) -> list[str]:
    """Find the network interfaces that k3s made."""
    return sorted(name for name in names if _LINKS.match(name))


def foreign_rules(saved: str) -> str | None:
    """Filter iptables-save's output.

    Returns:
        The rules without those of k3s, or None if k3s has none there.
    """
    lines = saved.splitlines(keepends=True)
    kept = [line for line in lines if not _RULES.search(line)]
    return "".join(kept) if len(kept) < len(lines) else None


def _processes() -> dict[int, tuple[int, str]]:
    table = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name in the second field may hold spaces and brackets.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            table[int(entry.name)] = (parent, line)
    return table


def leftovers() -> bool:
    """Tell cheaply whether pods, their mounts or their network are still there."""
    mounts = own_mounts(Path("/proc/self/mounts").read_text(encoding="utf-8"))
    return bool(mounts or own_links(os.listdir("/sys/class/net")) or shims(_processes()))  # noqa: PTH208 - names only


def end() -> None:
    """Kill pods, unmount what they had, remove their network and its firewall rules.

    Raises:
        TimeoutError: When a process does not die.
    """
    deadline = time.monotonic() + _TIMEOUT
    while remaining := shims(_processes()):
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(f"the pods' processes {sorted(remaining)} do not end; reboot the node and run again")
        time.sleep(0.2)
    for point in own_mounts(Path("/proc/self/mounts").read_text(encoding="utf-8")):
        _quietly("umount", "--lazy", point)
    for name in own_links(os.listdir("/sys/class/net")):  # noqa: PTH208 - names only
        _quietly("ip", "link", "delete", name)
    shutil.rmtree("/var/lib/cni", ignore_errors=True)
    bundled = "/var/lib/rancher/k3s/data/current/bin/aux"
    for tool in ("iptables", "ip6tables"):
        save = shutil.which(f"{tool}-save", path=f"{os.environ.get('PATH', '')}:/usr/sbin:{bundled}")
        rest = foreign_rules(_quietly(save)) if save else None
        if save and rest is not None:
            subprocess.run([save.replace("-save", "-restore")], input=rest, text=True, capture_output=True, check=False)


def _quietly(*command: str) -> str:
    # What is gone already cannot be removed; what stays shows up at the next run, which finds leftovers again.
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
