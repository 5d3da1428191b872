# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Pods leave before a restart and may return after it; who cordoned a node stays known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.drain import ANNOTATION, Drain
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.kubectl import ADMIN, Kubectl, last_words
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import HEADER
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.modules.k3s_drain import converge

if TYPE_CHECKING:
    from pathlib import Path

STUCK = (
    "node/red2 cordoned\nDEPRECATED WARNING: something\n"
    'error: unable to drain node "red2", aborting command...\n\nThere are pending nodes to be drained:\n red2\n'
    "error: cannot delete Pods not managed by ReplicationController, ReplicaSet, Job, DaemonSet or StatefulSet (use "
    "--force to override): default/bare\n"
)  # fmt: skip

KUBECTL = f"/usr/local/bin/k3s kubectl --kubeconfig={ADMIN}"


class Api:
    """Kubernetes with one node, which keeps what kubectl does to it; ends a run before its nth change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cordoned = self.ours = False
        self.refused: dict[str, str] = {}
        self.left = 99
        self.done: list[str] = []

    def node(self, *, check_mode: bool = False) -> FakeNode:
        return FakeNode(self.root, {KUBECTL: self.answer}, check_mode=check_mode)

    def drain(self, *, check_mode: bool = False) -> Drain:
        return Drain(self.node(check_mode=check_mode))

    def answer(self, *command: str) -> Outcome:
        verb, *rest = command[3:]
        if verb == "get":
            annotations = {ANNOTATION: "reboot"} if self.ours else None
            item = {
                "metadata": {"name": "red2", "annotations": annotations},
                "spec": {"unschedulable": True} if self.cordoned else {},
            }
            return Outcome(0, json.dumps(item if "node" in rest else {"items": [item]}))
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.done.append(verb)
        if verb == "drain":
            self.cordoned = True
        if verb in self.refused:
            return Outcome(1, err=self.refused[verb])
        if verb == "annotate":
            self.ours = f"{ANNOTATION}-" not in rest
        elif verb == "uncordon":
            self.cordoned = False
        return Outcome(0)


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path)


def test_a_node_is_drained_and_uncordoned(api: Api) -> None:
    api.drain().drain("red2", 60, force=False)
    assert (api.cordoned, api.ours) == (True, True)
    assert api.drain().cordoned() == ["red2"]
    api.drain().uncordon("red2")
    assert (api.cordoned, api.ours) == (False, False)
    assert api.drain().cordoned() == []


def test_what_the_user_cordoned_is_drained_and_stays_cordoned(api: Api) -> None:
    api.cordoned = True
    api.drain().drain("red2", 60, force=False)
    assert api.done == ["drain"]
    api.drain().uncordon("red2")
    assert (api.cordoned, api.ours) == (True, False)


@pytest.mark.parametrize("ends_after", range(5))
def test_a_run_that_is_killed_anywhere_leaves_no_cordon_that_nobody_owns(api: Api, ends_after: int) -> None:
    api.left = ends_after
    try:
        api.drain().drain("red2", 60, force=False)
        api.drain().uncordon("red2")
    except KeyboardInterrupt:
        pass
    assert api.ours or not api.cordoned
    api.left = 99
    for name in api.drain().cordoned():
        api.drain().uncordon(name)
    assert (api.cordoned, api.ours) == (False, False)


def test_pods_that_do_not_leave_keep_the_node_in_service(api: Api) -> None:
    api.refused["drain"] = STUCK
    with pytest.raises(
        UserError,
        match=r"^the pods of red2 did not leave within 60 s, .* takes pods again: .*k3s_drain_force.*default/bare",
    ):
        api.drain().drain("red2", 60, force=False)
    assert (api.cordoned, api.ours) == (False, False)


def test_why_pods_do_not_leave_is_reported_even_if_the_node_cannot_be_uncordoned(api: Api) -> None:
    api.refused = {"drain": STUCK, "uncordon": "refused"}
    with pytest.raises(UserError, match=r"stays cordoned until the same command is run again: .*default/bare"):
        api.drain().drain("red2", 60, force=False)


def test_pods_that_do_not_leave_do_not_end_the_users_cordon(api: Api) -> None:
    api.cordoned = True
    api.refused["drain"] = STUCK
    with pytest.raises(UserError, match="stays cordoned, as it was before"):
        api.drain().drain("red2", 60, force=False)
    assert api.cordoned


def test_check_mode_reports_and_changes_nothing(api: Api) -> None:
    options = {"node": "red2", "timeout": 60, "force": False}
    for state in ("drained", "uncordoned"):
        node = api.node(check_mode=True)
        assert converge(node, {"state": state, **options}) == {"answered": True, "cordoned": []}
        assert node.diff[0]["after_header"] == "node red2"
        api.cordoned = api.ours = True
    assert api.done == []


def test_query_reports_our_cordons_and_changes_nothing(api: Api) -> None:
    node = api.node()
    assert converge(node, {"state": "query"}) == {"answered": False, "cordoned": []}
    assert node.commands == []
    node.write("/etc/systemd/system/k3s.service", HEADER)
    api.cordoned = api.ours = True
    assert converge(node, {"state": "query"}) == {"answered": True, "cordoned": ["red2"]}
    assert not node.changed


def test_query_of_a_server_that_does_not_answer_is_a_warning(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, {KUBECTL: Outcome(1, err="The connection to the server 127.0.0.1:6443 was refused\n")})
    node.write("/etc/systemd/system/k3s.service", HEADER)
    assert converge(node, {"state": "query"}) == {"answered": False, "cordoned": []}
    assert node.module.warnings[0].endswith(
        "kubectl get nodes --output=json failed: The connection to the server 127.0.0.1:6443 was refused"
    )


@pytest.mark.parametrize("said", ["", "[]", "no JSON"])
def test_answer_that_is_no_object_is_a_sentence(tmp_path: Path, said: str) -> None:
    node = FakeNode(tmp_path, {KUBECTL: said})
    with pytest.raises(UserError, match="kubectl get nodes did not answer in JSON"):
        Kubectl(node, ADMIN).get("nodes")


def test_the_roles_kubectl_is_run_and_not_the_users(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, {"/usr/local/bin/kubectl": "", "/usr/local/bin/k3s": ""})
    kubectl = Kubectl(node, ADMIN)
    node.write("/usr/local/bin/kubectl", "theirs")
    kubectl.run("version")
    node.path("/usr/local/bin/kubectl").unlink()
    node.path("/usr/local/bin/kubectl").symlink_to("k3s-v1.36.4+k3s1")
    kubectl.run("version")
    assert [command.split(" --")[0] for command in node.commands] == [
        "/usr/local/bin/k3s kubectl",
        "/usr/local/bin/kubectl",
    ]


def test_kubectls_complaint_is_reported_without_its_noise() -> None:
    assert "DEPRECATED" not in last_words(STUCK)
    assert "default/bare" in last_words(STUCK)
    assert last_words("") == ""
