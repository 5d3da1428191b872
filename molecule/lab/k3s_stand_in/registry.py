# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The registry of nodes, and their shape as Kubernetes' Node objects."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lab.k3s_stand_in.files import write
from lab.k3s_stand_in.output import NOTICE, VERSION

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Registry:
    """The nodes that have joined; kept across restarts, as k3s's database is."""

    path: Path
    grace: float
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Read what a former run knew."""
        with contextlib.suppress(FileNotFoundError):
            self.nodes = json.loads(self.path.read_text(encoding="utf-8"))

    def beat(self, node: dict[str, str]) -> None:
        """Note a node's sign of life."""
        with self.lock:
            born = self.nodes.get(node["name"], {}).get("born", time.time())
            self.nodes[node["name"]] = node | {"born": born, "seen": time.time()}
            write(self.path, json.dumps(self.nodes))

    def delete(self, name: str) -> bool:
        """Forget a node; it comes back if it is still alive."""
        with self.lock:
            found = self.nodes.pop(name, None) is not None
            write(self.path, json.dumps(self.nodes))
            return found

    def listing(self) -> dict[str, Any]:
        """Return the nodes in the shape of Kubernetes' NodeList."""
        with self.lock:
            items = [node_object(self.nodes[name], self.grace) for name in sorted(self.nodes)]
        return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}


def node_object(node: dict[str, Any], grace: float) -> dict[str, Any]:
    """Make a Node object."""
    alive = time.time() - node["seen"] < grace
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": f"{NOTICE}, but posts ready status",
    }
    if not alive:
        ready |= {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(node["machine"], "arm")
    labels = {"kubernetes.io/hostname": node["name"], "kubernetes.io/arch": arch, "kubernetes.io/os": "linux"}
    if node["role"] == "server":
        labels["node-role.kubernetes.io/control-plane"] = "true"
    born = datetime.fromtimestamp(node["born"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    addresses = [{"type": "InternalIP", "address": node["ip"]}, {"type": "Hostname", "address": node["name"]}]
    info = {
        "kubeletVersion": VERSION,
        "architecture": arch,
        "containerRuntimeVersion": "stand-in://none",
        "osImage": NOTICE,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node["name"], "labels": labels, "creationTimestamp": born},
        "spec": {},
        "status": {"addresses": addresses, "conditions": [ready], "nodeInfo": info},
    }
