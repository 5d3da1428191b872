# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a node's k3s is healthy, by its service and by Kubernetes."""

from __future__ import annotations

import calendar
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.existing import our_unit
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.kubectl import KUBELET, Kubectl
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import SERVICES
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.units import parse_show

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

_STARTED = "ExecMainStartTimestamp"


def check_health(node: Node, name: str) -> str:
    """Return a word on why the node's k3s is healthy.

    Args:
        node: The node.
        name: Its name in Kubernetes.

    Raises:
        UserError: it is not.
    """
    service = next((service for service in SERVICES.values() if our_unit(node, service)), "")
    if not service:
        raise UserError(f"k3s of {name}: not installed by picluster on this node; run the whole site.yml")
    shown = node.query("systemctl", "show", service, f"--property=ActiveState,{_STARTED}", env={"TZ": "UTC"})
    state, started = parse_unit(shown)
    if state != "active":
        raise UserError(f"k3s of {name}: {service} is {state}; see 'journalctl -u {service}'")
    if not node.path(KUBELET).exists():
        raise UserError(f"k3s of {name}: the node has not joined its cluster yet; see 'journalctl -u {service}'")
    if problem := ready_problem(Kubectl(node, KUBELET).get("node", name), started):
        raise UserError(f"k3s of {name}: {problem}")
    return f"{service} is active, Kubernetes reports the node Ready"


def parse_unit(shown: str) -> tuple[str, float]:
    """Return a unit's state and when its process was started, from `systemctl show` in UTC (0.0 if it was not)."""
    found = (parse_show(shown) or [{}])[0]
    return found.get("ActiveState", "unknown"), _seconds(found.get(_STARTED, ""), "%a %Y-%m-%d %H:%M:%S UTC")


def ready_problem(item: dict[str, Any], started: float) -> str:
    """Return why a node is not Ready, empty if it is.

    Args:
        item: The node as Kubernetes shows it.
        started: When its service was started, seconds since 1970 by the node's clock; what Kubernetes heard before that
            says nothing about now (it reports a node as Ready for 40 s after its last sign of life).
    """
    for condition in item.get("status", {}).get("conditions", []):
        if condition.get("type") == "Ready":
            if condition.get("status") != "True":
                return f"NotReady: {condition.get('message') or condition.get('reason') or 'no reason given'}"
            if _seconds(condition.get("lastHeartbeatTime", ""), "%Y-%m-%dT%H:%M:%SZ") < started:
                return "Kubernetes has not heard from it since its service was started"
            return ""
    return "the node has joined, but has not reported its state yet"


def _seconds(stamp: str, form: str) -> float:
    try:
        return float(calendar.timegm(time.strptime(stamp, form)))
    except ValueError:
        return 0.0
