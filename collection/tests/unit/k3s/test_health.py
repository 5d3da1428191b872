# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node is healthy by its service and by what Kubernetes heard since the service was started."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.health import check_health, parse_unit, ready_problem
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.kubectl import KUBELET
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import HEADER
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


def item(status: str, heard: str) -> dict[str, Any]:
    conditions = [
        {"type": "DiskPressure", "status": "False"},
        {"type": "Ready", "status": status, "lastHeartbeatTime": heard, "message": "container runtime is down"},
    ]
    return {"status": {"conditions": conditions}}


STARTED = 1_763_913_161.0  # 2025-11-23T15:52:41Z


def test_what_kubernetes_heard_before_the_restart_does_not_count() -> None:
    assert ready_problem(item("True", "2025-11-23T15:52:41Z"), STARTED) == ""
    assert "not heard from it since" in ready_problem(item("True", "2025-11-23T15:52:40Z"), STARTED)
    assert "not heard from it since" in ready_problem(item("True", ""), STARTED)


def test_a_node_that_is_not_ready_says_why() -> None:
    assert ready_problem(item("False", "2025-11-23T15:59:00Z"), STARTED) == "NotReady: container runtime is down"
    assert ready_problem({}, STARTED) == "the node has joined, but has not reported its state yet"


def test_a_units_start_is_read_as_systemd_shows_it() -> None:
    shown = "ActiveState=active\nExecMainStartTimestamp=Sun 2025-11-23 15:52:41 UTC\n"
    assert parse_unit(shown) == ("active", STARTED)
    assert parse_unit("ActiveState=inactive\nExecMainStartTimestamp=\n") == ("inactive", 0.0)
    assert parse_unit("") == ("unknown", 0.0)


def test_health_is_checked_from_the_unit_to_kubernetes(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, {"systemctl show": "ActiveState=failed\nExecMainStartTimestamp=\n"})
    with pytest.raises(UserError, match=r"^k3s of red2: not installed by picluster on this node"):
        check_health(node, "red2")
    node.write("/etc/systemd/system/k3s-agent.service", HEADER)
    with pytest.raises(UserError, match=r"^k3s of red2: k3s-agent is failed; see 'journalctl -u k3s-agent'"):
        check_health(node, "red2")
    node.answers["systemctl show"] = "ActiveState=active\nExecMainStartTimestamp=Sun 2025-11-23 15:52:41 UTC\n"
    with pytest.raises(UserError, match="the node has not joined its cluster yet"):
        check_health(node, "red2")
    node.write(KUBELET, "")
    kubectl = f"/usr/local/bin/k3s kubectl --kubeconfig={KUBELET} get node red2"
    node.answers[kubectl] = json.dumps(item("False", "2025-11-23T15:59:00Z"))
    with pytest.raises(UserError, match=r"^k3s of red2: NotReady: container runtime is down"):
        check_health(node, "red2")
    node.answers[kubectl] = json.dumps(item("True", "2025-11-23T15:59:00Z"))
    assert check_health(node, "red2") == "k3s-agent is active, Kubernetes reports the node Ready"
    assert not node.changed
