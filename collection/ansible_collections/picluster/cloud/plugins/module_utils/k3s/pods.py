# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The pods that k3s leaves running when its service stops, on purpose (KillMode=process), and how to end them.

The steps are those of k3s-killall.sh from k3s's install.sh; data and images are kept.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

# A shim of Docker's containerd names another socket.
SOCKET = "/run/k3s/containerd/containerd.sock"
_MOUNTS = ("/run/k3s", "/var/lib/kubelet/pods", "/var/lib/kubelet/plugins", "/run/netns/cni-")
_LINKS = re.compile(r"^(cni0|flannel[.-][^@:]*|kube-ipvs0)$")
_RULES = re.compile(r"KUBE-|CNI-|flannel", re.IGNORECASE)
_TIMEOUT = 30.0
# k3s brings its own iptables, for nodes without.
_BUNDLED = "/var/lib/rancher/k3s/data/current/bin/aux"


def shims(processes: dict[int, tuple[int, str]]) -> set[int]:
    """Return k3s's container shims and all their descendants.

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
    """Return the mount points of pods in /proc/self/mounts, innermost first."""
    points = [line.split()[1].replace("\\040", " ") for line in mounts.splitlines() if line.strip()]
    return sorted({point for point in points if point.startswith(_MOUNTS)}, reverse=True)


def own_links(names: Iterable[str]) -> list[str]:
    """Return the network interfaces that k3s made."""
    return sorted(name for name in names if _LINKS.match(name))


def foreign_rules(saved: str) -> str | None:
    """Return iptables-save's output without the rules of k3s, or None if k3s has none there."""
    lines = saved.splitlines(keepends=True)
    kept = [line for line in lines if not _RULES.search(line)]
    return "".join(kept) if len(kept) < len(lines) else None


class Pods:
    """The pods that run on the node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def left(self) -> bool:
        """Return whether pods, their mounts or their network are still there."""
        return bool(self._mounts() or self._links() or shims(self._processes()))

    def end(self) -> None:
        """Kill pods, unmount their file systems, remove their network and its firewall rules.

        Raises:
            UserError: a process does not end.
        """
        deadline = time.monotonic() + _TIMEOUT
        while remaining := shims(self._processes()):
            for pid in remaining:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise UserError(f"the pods' processes do not end: {sorted(remaining)}; reboot the node and run again")
            time.sleep(0.2)
        # What is gone already cannot be removed; what stays is found by the next run, so nothing is judged here.
        for point in self._mounts():
            self._node.run("umount", "--lazy", point)
        for name in self._links():
            self._node.run("ip", "link", "delete", name)
        shutil.rmtree(self._node.path("/var/lib/cni"), ignore_errors=True)
        path = {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:{_BUNDLED}"}
        for tool in ("iptables", "ip6tables"):
            saved = self._node.run(f"{tool}-save", env=path)
            rest = foreign_rules(saved.out) if saved.ok else None
            if rest is not None:
                self._node.run(f"{tool}-restore", stdin=rest, env=path)

    def _mounts(self) -> list[str]:
        return own_mounts(self._node.files.read("/proc/self/mounts") or "")

    def _links(self) -> list[str]:
        return own_links(entry.name for entry in self._node.path("/sys/class/net").glob("*"))

    def _processes(self) -> dict[int, tuple[int, str]]:
        table = {}
        for entry in self._node.path("/proc").glob("[0-9]*"):
            # A process that has ended meanwhile.
            with contextlib.suppress(OSError):
                # The name in the second field may hold spaces and brackets.
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                table[int(entry.name)] = (int(fields[1]), line)
        return table
