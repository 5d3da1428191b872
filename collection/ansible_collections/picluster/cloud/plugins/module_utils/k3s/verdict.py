# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes' answers say about the nodes of the inventory. Nothing here touches the node."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.probe import IMAGE

STAND_IN = "stand-in"
PROBE_NAME = "picluster-verify"
PROBE_PORT = 8080
# Why a server rejects a node. Plain errors are no sign: a healthy Kubernetes logs them by the dozen.
_TROUBLE = re.compile(r"reject|authenticat|unauthoriz|denied|duplicate|password|forbidden|x509", re.IGNORECASE)
_FATAL = re.compile(r"level=fatal|level=panic|^panic: |^F\d{4} ")
# The image has nothing but busybox, and Debian's finds none of its own applets by a bare name: beside it only the
# shell's builtins are there. The kernel gives a container's first process no TERM that it does not catch, so that the
# shell stays the first and catches it; httpd ends with it.
_PROBE_SCRIPT = """\
set -e
trap 'exit 0' TERM
/bin/busybox mkdir -p /www
echo "$NODE" >/www/index.html
/bin/busybox httpd -f -p {port} -h /www &
wait $!
"""
_NOISE = re.compile(r'^time="[^"]*" level=(\w+) msg=|^[IWEF]\d{4} [\d:.]+\s+\d+ ')


@dataclass(frozen=True)
class Verdict:
    """The state of one node.

    Attributes:
        ready: Whether Kubernetes reports it Ready.
        detail: Its version if it is, else why not.
        version: The kubelet's version, empty if unknown.
    """

    ready: bool
    detail: str
    version: str = ""

    @property
    def is_stand_in(self) -> bool:
        """Whether the node runs the lab's stand-in instead of k3s."""
        return STAND_IN in self.version


def judge_nodes(listing: dict[str, Any], expected: list[str]) -> dict[str, Verdict]:
    """Return the verdict on each expected node, from `kubectl get nodes -o json`."""
    present = {item["metadata"]["name"]: item for item in listing.get("items", [])}
    return {name: _judge(present.get(name)) for name in expected}


def strays(listing: dict[str, Any], inventory: list[str]) -> list[str]:
    """Return the nodes that Kubernetes has and the inventory does not."""
    return sorted({item["metadata"]["name"] for item in listing.get("items", [])} - set(inventory))


def _judge(node: dict[str, Any] | None) -> Verdict:
    if node is None:
        return Verdict(ready=False, detail="has not joined")
    status = node.get("status", {})
    version = status.get("nodeInfo", {}).get("kubeletVersion", "")
    for condition in status.get("conditions", []):
        if condition.get("type") == "Ready":
            if condition.get("status") == "True":
                return Verdict(ready=True, detail=version, version=version)
            text = condition.get("message") or condition.get("reason") or "no reason given"
            return Verdict(ready=False, detail=f"NotReady: {text}", version=version)
    return Verdict(ready=False, detail="has joined, but has not reported its state yet", version=version)


def fatal_cause(journal: str) -> str:
    """Return the last line with which a service gave up; Kubernetes logs too many mere errors for those to matter."""
    fatal = [line for line in journal.splitlines() if _FATAL.search(line)]
    return _clean(fatal[-1]) if fatal else ""


def journal_cause(journal: str, *names: str) -> str:
    """Return the last line of the server's journal that says why it rejected a node, by its name or address."""
    either = "|".join(re.escape(name) for name in names if name)
    pattern = re.compile(rf"(?<![\w.-])(?:{either})(?![\w-]|\.\w)")
    lines = [line for line in journal.splitlines() if _TROUBLE.search(line) and pattern.search(line)]
    return _clean(lines[-1]) if lines else ""


def _clean(line: str) -> str:
    return _NOISE.sub("", line.strip()).strip('"').replace('\\"', '"')[:300]


def probe_manifest(instance: str) -> dict[str, Any]:
    """Return the DaemonSet that runs a pod on every node, which serves the node's own name."""
    labels = {"app": PROBE_NAME, "instance": instance}
    script = _PROBE_SCRIPT.format(port=PROBE_PORT)
    container = {
        "name": "probe",
        "image": IMAGE,
        # The image is the node's own: no registry knows it.
        "imagePullPolicy": "Never",
        "command": ["/bin/busybox", "sh", "-c", script],
        "env": [
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "PATH", "value": "/bin"},
        ],
    }
    pod = {
        "containers": [container],
        # Every node, whatever taints it has.
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": f"{PROBE_NAME}-{instance}", "namespace": "default", "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def pod_addresses(pods: dict[str, Any]) -> dict[str, str]:
    """Return the address of each node's running probe pod: node -> address."""
    return {
        pod["spec"]["nodeName"]: pod["status"]["podIP"]
        for pod in pods.get("items", [])
        if pod.get("status", {}).get("phase") == "Running"
        and pod["status"].get("podIP")
        and pod["spec"].get("nodeName")
    }


def pod_trouble(node: str, pods: dict[str, Any], events: dict[str, Any]) -> str:
    """Return why a node's probe pod does not run."""
    pod = next((pod for pod in pods.get("items", []) if pod.get("spec", {}).get("nodeName") == node), None)
    if pod is None:
        return "no pod was scheduled on it"
    name = pod["metadata"]["name"]
    # The event of a sandbox that fails is the only place that says why; the last one counts.
    reasons = [
        event.get("message", "")
        for event in events.get("items", [])
        if event.get("involvedObject", {}).get("name") == name and event.get("type") == "Warning"
    ]
    for container in pod.get("status", {}).get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in ("ErrImageNeverPull", "ImageInspectError"):
            return f"{waiting['reason']}: {waiting.get('message', '')} (was busybox on the node when k3s started?)"[
                :300
            ]
        if waiting.get("reason") and waiting["reason"] != "ContainerCreating":
            return f"{waiting['reason']}: {waiting.get('message', '')}"[:300]
    reason = reasons[-1] if reasons else "no event says why"
    return f"pod is {pod.get('status', {}).get('phase', 'unknown')}: {reason}"[:300]


def same_status(names: list[str], state: str, detail: str) -> list[dict[str, str]]:
    """Return the summary's entries of nodes that all have one state."""
    return [{"node": name, "layer": "k3s", "state": state, "detail": detail} for name in names]


def statuses(verdicts: dict[str, Verdict], pods: dict[str, str] | None, note: str) -> list[dict[str, str]]:
    """Return the summary's entries.

    Args:
        verdicts: Of each expected node.
        pods: Of each Ready node: empty text if its pod answered, else why not. None if no pods were run.
        note: What to add to the detail of a healthy node.
    """
    result = []
    for name, verdict in verdicts.items():
        trouble = (pods or {}).get(name, "")
        if not verdict.ready:
            state, detail = "failed", verdict.detail
        elif verdict.is_stand_in:
            state, detail = STAND_IN, f"Ready ({verdict.version}); not Kubernetes, so no pods"
        elif trouble:
            state, detail = "failed", f"Ready ({verdict.version}), but {trouble}"
        else:
            state, detail = "ok", f"Ready ({verdict.version}){note}"
        result += same_status([name], state, detail)
    return result
