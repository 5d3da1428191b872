# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""kubectl of the k3s that the role installed, and what its answers say of one node."""

from __future__ import annotations

import calendar
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

BINARY = Path("/usr/local/bin/k3s")
# The server's own, which may do everything; and the kubelet's, which may look at its own node.
ADMIN = "/etc/rancher/k3s/k3s.yaml"
KUBELET = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig"
# Tells our cordon from one of the user's, and what it is for.
ANNOTATION = "picluster.cloud/cordoned-for"
PURPOSE = "reboot"


def program() -> list[str]:
    """Return how to call kubectl: by the role's link, unless somebody's own kubectl is in its place."""
    link = BINARY.with_name("kubectl")
    ours = link.is_symlink() and link.resolve() == BINARY.resolve()
    return [str(link)] if ours else [str(BINARY), "kubectl"]


class Kubectl:
    """Runs kubectl as somebody.

    Args:
        run: run_command of the module.
        kubeconfig: as whom; never root's own idea of a cluster.
    """

    def __init__(self, run: Callable[..., tuple[int, str, str]], kubeconfig: str) -> None:
        self._run = run
        self._kubeconfig = kubeconfig

    def __call__(self, *arguments: str) -> str:
        """Return what kubectl prints.

        Raises:
            ValueError: it fails; the message has its last words.
        """
        rc, out, err = self._run([*program(), f"--kubeconfig={self._kubeconfig}", *arguments])
        if rc != 0:
            raise ValueError(f"kubectl {' '.join(arguments[:3])} failed: {last_words(err or out)}")
        return out

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object, or a listing.

        Raises:
            ValueError: kubectl fails, or its answer is no JSON.
        """
        loaded: dict[str, Any] = json.loads(self("get", *arguments, "--output=json", "--request-timeout=10s"))
        return loaded


def last_words(said: str) -> str:
    """Return the line of kubectl's complaint that tells what is wrong: its last error, or else its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # `drain` names the node in its first error and the cause in a later one.
    errors = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("error")]
    return " ".join(errors[-1:] or lines[-1:])[:600]


def is_cordoned(node: dict[str, Any]) -> bool:
    """Tell whether no new pods come to a node."""
    return bool(node.get("spec", {}).get("unschedulable"))


def is_ours(node: dict[str, Any]) -> bool:
    """Tell whether it was us who cordoned a node."""
    return ANNOTATION in (node.get("metadata", {}).get("annotations") or {})


def ready_problem(node: dict[str, Any], started: float) -> str:
    """Return why a node cannot be called Ready, nothing if it can.

    Args:
        node: the node as Kubernetes shows it.
        started: when its service was started, seconds since 1970 by the node's clock; what Kubernetes heard before
            that says nothing of now (it calls a node Ready for 40 s after its last sign of life).
    """
    for condition in node.get("status", {}).get("conditions", []):
        if condition.get("type") == "Ready":
            if condition.get("status") != "True":
                return f"NotReady: {condition.get('message') or condition.get('reason') or 'no reason given'}"
            if _seconds(condition.get("lastHeartbeatTime", "")) < started:
                return "Kubernetes has not heard of it since its service was started"
            return ""
    return "has joined, but not yet told its state"


def _seconds(stamp: str) -> float:
    try:
        return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return 0.0
