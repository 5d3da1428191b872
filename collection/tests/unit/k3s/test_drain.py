"""Pods go elsewhere before a restart and may come back after it; whose cordon it is stays known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.kubectl import (
    ADMIN,
    ANNOTATION,
    Kubectl,
    last_words,
    ready_problem,
)
from ansible_collections.picluster.cloud.plugins.modules.k3s_drain import Drain
from ansible_collections.picluster.cloud.plugins.modules.k3s_health import parse_unit

STUCK = (
    "node/red2 cordoned\nDEPRECATED WARNING: something\n"
    'error: unable to drain node "red2", aborting command...\n\nThere are pending nodes to be drained:\n red2\n'
    "error: cannot delete Pods not managed by ReplicationController, ReplicaSet, Job, DaemonSet or StatefulSet (use "
    "--force to override): default/bare\n"
)  # fmt: skip


class Api:
    """Kubernetes with one node, which keeps what kubectl does to it; ends a run before the nth change if told so."""

    def __init__(self, *, cordoned: bool = False, ours: bool = False, stuck: str = "", ends_after: int = 99) -> None:
        self.cordoned, self.ours, self.stuck, self.left = cordoned, ours, stuck, ends_after
        self.done: list[str] = []

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        assert f"--kubeconfig={ADMIN}" in command
        verb, *rest = command[command.index(f"--kubeconfig={ADMIN}") + 1 :]
        if verb == "get":
            annotations = {ANNOTATION: "reboot"} if self.ours else None
            node = {
                "metadata": {"name": "red2", "annotations": annotations},
                "spec": {"unschedulable": True} if self.cordoned else {},
            }
            return 0, json.dumps(node if "node" in rest else {"items": [node]}), ""
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.done.append(verb)
        if verb == "annotate":
            self.ours = f"{ANNOTATION}-" not in rest
        elif verb == "uncordon":
            self.cordoned = False
        elif verb == "drain":
            self.cordoned = True
            if self.stuck:
                return 1, "", self.stuck
        return 0, "", ""


def drain(api: Api, *, check_mode: bool = False) -> Drain:
    return Drain(Kubectl(api.run_command, ADMIN), check_mode=check_mode)


def test_a_node_goes_and_comes_back() -> None:
    api = Api()
    assert drain(api).drain("red2", 60, force=False)
    assert (api.cordoned, api.ours) == (True, True)
    assert drain(api).cordoned() == ["red2"]
    assert drain(api).back("red2")
    assert (api.cordoned, api.ours) == (False, False)
    assert not drain(api).back("red2")
    assert drain(api).cordoned() == []


def test_what_the_user_cordoned_is_drained_and_stays_cordoned() -> None:
    api = Api(cordoned=True)
    drain(api).drain("red2", 60, force=False)
    assert api.done == ["drain"]
    assert not drain(api).back("red2")
    assert (api.cordoned, api.ours) == (True, False)


@pytest.mark.parametrize("ends_after", range(5))
def test_a_run_that_is_killed_anywhere_leaves_no_cordon_that_nobody_owns(ends_after: int) -> None:
    api = Api(ends_after=ends_after)
    try:
        drain(api).drain("red2", 60, force=False)
        drain(api).back("red2")
    except KeyboardInterrupt:
        pass
    assert api.ours or not api.cordoned
    api.left = 99
    for name in drain(api).cordoned():
        drain(api).back(name)
    assert (api.cordoned, api.ours) == (False, False)


def test_pods_that_do_not_go_keep_the_node_in_service() -> None:
    api = Api(stuck=STUCK)
    with pytest.raises(
        ValueError, match=r"the pods of red2 cannot .* takes pods again: .*k3s_drain_force.*default/bare"
    ):
        drain(api).drain("red2", 60, force=False)
    assert (api.cordoned, api.ours) == (False, False)


def test_why_pods_do_not_go_is_told_even_if_the_cordon_cannot_be_taken_back() -> None:
    class Gone(Api):
        def run_command(self, command: list[str], **more: Any) -> tuple[int, str, str]:
            return (1, "", "refused") if "uncordon" in command else super().run_command(command, **more)

    with pytest.raises(ValueError, match=r"stays cordoned until the same command is run again: .*default/bare"):
        drain(Gone(stuck=STUCK)).drain("red2", 60, force=False)


def test_pods_that_do_not_go_leave_the_users_cordon_alone() -> None:
    api = Api(cordoned=True, stuck=STUCK)
    with pytest.raises(ValueError, match="takes pods as little as before"):
        drain(api).drain("red2", 60, force=False)
    assert api.cordoned


def test_check_mode_tells_and_changes_nothing() -> None:
    api, ours = Api(), Api(cordoned=True, ours=True)
    assert drain(api, check_mode=True).drain("red2", 60, force=False)
    assert drain(ours, check_mode=True).back("red2")
    assert api.done + ours.done == []


def test_a_server_that_does_not_answer_is_told_by_its_last_words() -> None:
    kubectl = Kubectl(lambda *_a, **_k: (1, "", "The connection to the server 127.0.0.1:6443 was refused\n"), ADMIN)
    with pytest.raises(ValueError, match="kubectl get nodes --output=json failed: The connection to the server"):
        kubectl.get("nodes")


def test_kubectls_complaint_is_told_without_its_noise() -> None:
    assert "DEPRECATED" not in last_words(STUCK)
    assert "default/bare" in last_words(STUCK)
    assert last_words("") == ""


def node(status: str, heard: str) -> dict[str, Any]:
    conditions = [
        {"type": "DiskPressure", "status": "False"},
        {"type": "Ready", "status": status, "lastHeartbeatTime": heard, "message": "container runtime is down"},
    ]
    return {"status": {"conditions": conditions}}


STARTED = 1_763_913_161.0  # 2025-11-23T15:52:41Z


def test_what_kubernetes_heard_before_the_restart_does_not_count() -> None:
    assert ready_problem(node("True", "2025-11-23T15:52:41Z"), STARTED) == ""
    assert "not heard of it since" in ready_problem(node("True", "2025-11-23T15:52:40Z"), STARTED)
    assert "not heard of it since" in ready_problem(node("True", ""), STARTED)


def test_a_node_that_is_not_ready_says_why() -> None:
    assert ready_problem(node("False", "2025-11-23T15:59:00Z"), STARTED) == "NotReady: container runtime is down"
    assert ready_problem({}, STARTED) == "has joined, but not yet told its state"


def test_a_units_start_is_read_as_systemd_shows_it() -> None:
    shown = "ActiveState=active\nExecMainStartTimestamp=Sun 2025-11-23 15:52:41 UTC\n"
    assert parse_unit(shown) == ("active", STARTED)
    assert parse_unit("ActiveState=inactive\nExecMainStartTimestamp=\n") == ("inactive", 0.0)
    assert parse_unit("") == ("unknown", 0.0)
