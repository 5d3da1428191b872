# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The verdict on a cluster: who is Ready, whose pod answers, and why not."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import RUNNING, FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.k3s import verify
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.kubectl import ADMIN
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import HEADER
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.verdict import (
    PROBE_NAME,
    Verdict,
    fatal_cause,
    journal_cause,
    judge_nodes,
    pod_addresses,
    pod_trouble,
    probe_manifest,
    statuses,
    strays,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.verify import K3sServer, await_nodes, check_pods
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.modules import k3s_check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fakenode import Answer

REAL, STAND_IN = "v1.36.4+k3s1", "v1.36.4+k3s1-stand-in"


def item(name: str, ready: str = "True", version: str = REAL, message: str = "") -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "reason": "KubeletReady", "message": message}
    pressure = {"type": "MemoryPressure", "status": "False", "message": "fine"}
    status = {"conditions": [pressure, condition], "nodeInfo": {"kubeletVersion": version}}
    return {"metadata": {"name": name}, "status": status}


def listing(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(items)}


def test_each_expected_node_gets_its_own_verdict() -> None:
    nodes = listing(
        item("red1"),
        item("red2", "Unknown", message="Kubelet stopped posting node status."),
        {"metadata": {"name": "red4"}, "status": {}},
        item("old"),
    )
    found = judge_nodes(nodes, ["red1", "red2", "red3", "red4"])
    assert found["red1"] == Verdict(ready=True, detail=REAL, version=REAL)
    assert found["red2"].detail == "NotReady: Kubelet stopped posting node status."
    assert found["red3"].detail == "has not joined"
    assert not found["red4"].ready
    assert strays(nodes, ["red1", "red2", "red4"]) == ["old"]
    assert strays({}, []) == []


def test_server_that_gave_no_list_means_that_nobody_is_ready() -> None:
    assert not judge_nodes({}, ["red1"])["red1"].ready


def test_stand_in_is_never_ok() -> None:
    found = statuses(judge_nodes(listing(item("red1", version=STAND_IN)), ["red1"]), None, "")
    assert found[0]["state"] == "stand-in"
    assert "not Kubernetes" in found[0]["detail"]


def test_ready_node_whose_pod_did_not_answer_is_failed() -> None:
    verdicts = judge_nodes(listing(item("red1"), item("red2")), ["red1", "red2"])
    found = statuses(verdicts, {"red1": "", "red2": "pod is Pending: no event says why"}, ", its pod answered")
    assert [(entry["node"], entry["state"]) for entry in found] == [("red1", "ok"), ("red2", "failed")]
    assert found[0]["detail"] == f"Ready ({REAL}), its pod answered"
    assert "Pending" in found[1]["detail"]


def test_cause_is_the_last_trouble_that_names_the_node() -> None:
    journal = (
        'time="2026-11-23T09:00:00Z" level=error msg="Node password rejected for red1, duplicate hostname"\n'
        'time="2026-11-23T09:00:01Z" level=info msg="red1 is fine"\n'
        'time="2026-11-23T09:00:02Z" level=error msg="password rejected for red10"\n'
        'E1123 09:00:03.1   12 x.go:1] Failed to set it, because nodeName="red1" does not exist\n'
        'time="x" level=error msg="Failed to authenticate request from 10.0.0.7:4321: invalid"\n'
    )
    assert journal_cause(journal, "red1") == "Node password rejected for red1, duplicate hostname"
    assert journal_cause(journal, "red2", "10.0.0.7") == "Failed to authenticate request from 10.0.0.7:4321: invalid"
    assert journal_cause(journal, "red3", "10.0.0.70") == ""
    assert journal_cause(journal, "red4", "") == ""
    assert fatal_cause(journal) == ""
    assert (
        fatal_cause(journal + 'time="x" level=fatal msg="no \\"memory\\" cgroup"\nI1123 bye\n') == 'no "memory" cgroup'
    )


def test_probe_runs_everywhere_and_needs_no_registry() -> None:
    manifest = probe_manifest("abc")
    pod = manifest["spec"]["template"]["spec"]
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["containers"][0]["imagePullPolicy"] == "Never"
    assert manifest["metadata"]["labels"]["app"] == PROBE_NAME
    assert manifest["spec"]["selector"]["matchLabels"] == manifest["spec"]["template"]["metadata"]["labels"]


def pod(name: str, on: str, phase: str = "Running", address: str = "10.42.0.5", **waiting: str) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase}
    if address:
        status["podIP"] = address
    if waiting:
        status["containerStatuses"] = [{"state": {"waiting": waiting}}]
    return {"metadata": {"name": name}, "spec": {"nodeName": on}, "status": status}


def test_only_running_pods_with_an_address_are_queried() -> None:
    pods = listing(
        pod("a", "red1"), pod("b", "red2", "Pending"), pod("c", "red3", address=""), {"spec": {}, "status": {}}
    )
    assert pod_addresses(pods) == {"red1": "10.42.0.5"}


def test_trouble_of_a_pod_is_explained() -> None:
    event = {
        "type": "Warning",
        "involvedObject": {"name": "b"},
        "message": "failed to pull image rancher/mirrored-pause:3.6",
    }
    pods = listing(
        pod("a", "red1", "Pending", reason="ErrImageNeverPull", message="image is not present"),
        pod("b", "red2", "Pending", reason="ContainerCreating"),
        pod("c", "red3", "Running", reason="CrashLoopBackOff", message="back-off"),
    )
    assert "was busybox on the node" in pod_trouble("red1", pods, listing(event))
    assert pod_trouble("red2", pods, listing(event)).endswith("mirrored-pause:3.6")
    assert pod_trouble("red3", pods, {}) == "CrashLoopBackOff: back-off"
    assert pod_trouble("red4", pods, {}) == "no pod was scheduled on it"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


KUBECTL = f"/usr/local/bin/k3s kubectl --kubeconfig={ADMIN}"


class Master(FakeNode):
    """The server's node: systemd, journal and kubectl by script."""

    def kubectl(self, **answers: Answer) -> None:
        """Script kubectl by its verb and first argument, joined by an underscore."""
        self.answers |= {f"{KUBECTL} {words.replace('_', ' ')}": answer for words, answer in answers.items()}

    @property
    def asked(self) -> list[str]:
        """What kubectl was run with."""
        start = f"{KUBECTL} "
        return [command[len(start) :] for command in self.commands if command.startswith(start)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(verify, "time", clock)
    return clock


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Master:
    monkeypatch.setattr(verify, "address_of", lambda _: "")
    master = Master(tmp_path, {"journalctl": ""}, units={"k3s.service": {**RUNNING, "NRestarts": "0"}})
    master.kubectl(delete="")
    return master


def test_wait_ends_when_the_core_is_up(monkeypatch: pytest.MonkeyPatch, clock: Clock, master: Master) -> None:
    answers = iter(["Connection refused", "HTTP 503", "ok"])
    monkeypatch.setattr(K3sServer, "_readyz", lambda _: next(answers))
    K3sServer(master, "t", 300).wait()
    assert clock.now == 4.0
    assert master.asked == []


@pytest.mark.usefixtures("clock")
def test_service_that_keeps_failing_is_given_up_with_its_cause(monkeypatch: pytest.MonkeyPatch, master: Master) -> None:
    monkeypatch.setattr(K3sServer, "_readyz", lambda _: "Connection refused")
    shown = (f"ActiveState=activating\nNRestarts={count}\n" for count in range(10))
    master.answers["systemctl show"] = lambda *_: next(shown)
    master.answers["journalctl"] = (
        'time="x" level=fatal msg="failed to find memory cgroup"\nk3s.service: Scheduled restart job\n'
    )
    with pytest.raises(UserError, match="after 3 restarts: failed to find memory cgroup"):
        K3sServer(master, "t", 300).wait()


def test_wait_ends_with_the_time(monkeypatch: pytest.MonkeyPatch, clock: Clock, master: Master) -> None:
    monkeypatch.setattr(K3sServer, "_readyz", lambda _: "HTTP 503")
    with pytest.raises(UserError, match=r"not answer in time \(HTTP 503\)"):
        K3sServer(master, "t", 30).wait()
    assert clock.now == 30.0


@contextlib.contextmanager
def answering(code: int) -> Iterator[str]:
    """Be a server that answers everything with one status code."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("code", "readyz", "expected"), [(401, "ok", "ok"), (404, "", "HTTP 404"), (503, "ok", "HTTP 503")]
)
def test_older_k3s_without_the_address_is_queried_by_kubectl(
    monkeypatch: pytest.MonkeyPatch, master: Master, code: int, readyz: str, expected: str
) -> None:
    with answering(code) as address:
        monkeypatch.setattr(verify, "READYZ", address)
        monkeypatch.setattr("ssl.create_default_context", lambda **_: None)
        master.answers[f"{KUBECTL} get --raw=/readyz"] = readyz
        assert K3sServer(master, "t", 300)._readyz() == expected


def test_server_is_queried_without_the_sites_proxy(monkeypatch: pytest.MonkeyPatch, master: Master) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # discard: nobody listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # urlopen would keep an opener of a time without the proxy.
    monkeypatch.setattr("urllib.request._opener", None)
    with answering(200) as address:
        monkeypatch.setattr(verify, "READYZ", address)
        monkeypatch.setattr("ssl.create_default_context", lambda **_: None)
        assert K3sServer(master, "t", 300)._readyz() == "ok"


def test_server_that_does_not_run_yet_is_described(master: Master) -> None:
    # Before its first start there is no CA.
    assert K3sServer(master, "t", 300)._readyz() == "[Errno 2] No such file or directory"


def test_nodes_are_awaited_and_strays_named(clock: Clock, master: Master) -> None:
    # red3 is in the inventory, but dead or left out of this run.
    answers = iter([listing(item("red1")), listing(item("red1"), item("red2"), item("red3", "Unknown"), item("old"))])
    master.kubectl(get_nodes=lambda *_: json.dumps(next(answers)))
    verdicts, more = await_nodes(K3sServer(master, "t", 300), ["red1", "red2"], ["red1", "red2", "red3"])
    assert all(verdict.ready for verdict in verdicts.values())
    assert more == ["old"]
    assert clock.now == 2.0


@pytest.mark.usefixtures("clock")
def test_node_that_does_not_come_is_named_with_the_servers_reason(master: Master) -> None:
    master.kubectl(get_nodes=json.dumps(listing(item("red1"))))
    master.answers["journalctl"] = "Node password rejected for red2\n"
    verdicts, more = await_nodes(K3sServer(master, "t", 10), ["red1", "red2", "red3"], [])
    assert more == []
    assert verdicts["red2"].detail == "has not joined; Node password rejected for red2"
    assert "journalctl -u k3s-agent" in verdicts["red3"].detail


def test_listing_that_fails_once_is_queried_again(clock: Clock, master: Master) -> None:
    answers = iter(["", json.dumps(listing(item("red1")))])
    master.kubectl(get_nodes=lambda *_: next(answers))
    verdicts, _more = await_nodes(K3sServer(master, "t", 300), ["red1"], [])
    assert verdicts["red1"].ready
    assert clock.now == 2.0


@pytest.mark.usefixtures("clock")
def test_pods_are_queried_until_each_gives_its_nodes_name(monkeypatch: pytest.MonkeyPatch, master: Master) -> None:
    said = {"10.42.0.1": iter([""]), "10.42.1.1": iter(["refused", ""])}
    monkeypatch.setattr(verify, "query_pod", lambda address, _: next(said[address]))
    pods = listing(pod("a", "red1", address="10.42.0.1"), pod("b", "red2", address="10.42.1.1"))
    master.kubectl(apply="created", get_pods=json.dumps(pods))
    assert check_pods(K3sServer(master, "t", 60), ["red1", "red2"]) == {"red1": "", "red2": ""}
    assert master.asked[-1].startswith("delete daemonset")


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("applied", ["created", ""])
def test_probe_is_removed_also_when_it_fails(master: Master, applied: str) -> None:
    pods = listing(pod("a", "red1", "Pending"))
    master.kubectl(apply=applied, get_pods=json.dumps(pods), get_events=json.dumps(listing()))
    found = check_pods(K3sServer(master, "t", 10), ["red1"])
    assert found["red1"]
    assert [command.split()[0] for command in master.asked].count("delete") == 2
    assert master.asked[-1].startswith("delete daemonset")


@pytest.mark.usefixtures("clock")
def test_node_that_died_unnoticed_is_named_as_not_ready_and_not_by_its_pod(master: Master) -> None:
    silent = listing(item("red1", "Unknown", message="Kubelet stopped posting node status."))
    master.kubectl(get_nodes=json.dumps(silent))
    master.answers["journalctl"] = "Node password rejected for red1\n"
    server = K3sServer(master, "t", 10)
    verdicts = verify.explain(server, judge_nodes(server.get("nodes"), ["red1"]))
    assert verdicts["red1"].detail == (
        "NotReady: Kubelet stopped posting node status.; Node password rejected for red1"
    )


UNIT = "/etc/systemd/system/k3s.service"


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(K3sServer, "_readyz", lambda _: "ok")


def check(node: FakeNode, **options: Any) -> dict[str, Any]:
    """Run the module's work."""
    given = {name: option.get("default") for name, option in k3s_check.OPTIONS.items()}
    return k3s_check.converge(node, {**given, "expected_nodes": ["red1"], "timeout": 0, "pods": False, **options})


@pytest.mark.usefixtures("up")
@pytest.mark.parametrize("optional", [True, False])
def test_server_that_is_installed_is_verified_whatever_was_fetched(master: Master, *, optional: bool) -> None:
    master.write(UNIT, f"{HEADER}[Unit]\n")
    master.kubectl(get_nodes=json.dumps(listing(item("red1", "False", message="broken"))))
    bad = check(master, optional=optional)
    assert bad["failed"]
    assert "red1 NotReady: broken" in bad["msg"]
    assert [entry["state"] for entry in bad["picluster_status"]] == ["failed"]
    master.kubectl(get_nodes=json.dumps(listing(item("red1"), item("red2", "Unknown"), item("old"))))
    good = check(master, optional=optional, inventory_nodes=["red1", "red2"])
    assert [entry["state"] for entry in good["picluster_status"]] == ["ok"]
    assert good["strays"] == ["old"]
    assert [("old" in text, "red2" in text) for text in master.module.warnings] == [(True, False)]
    assert not master.changed


@pytest.mark.usefixtures("clock")
def test_server_that_is_not_up_fails_for_each_node(monkeypatch: pytest.MonkeyPatch, master: Master) -> None:
    monkeypatch.setattr(K3sServer, "_readyz", lambda _: "HTTP 503")
    master.write(UNIT, f"{HEADER}[Unit]\n")
    found = check(master, expected_nodes=["red1", "red2"])
    assert found["msg"].startswith("k3s is not up: the server does not answer in time (HTTP 503)")
    assert [entry["state"] for entry in found["picluster_status"]] == ["failed", "failed"]


def test_no_server_is_skipped_only_where_k3s_is_optional(master: Master) -> None:
    skipped = check(master, optional=True)
    assert "failed" not in skipped
    assert skipped["picluster_status"] == [
        {"node": "red1", "layer": "k3s", "state": "skipped", "detail": "no artifact"}
    ]
    failed = check(master, optional=False)
    assert failed["failed"]
    assert "no k3s server is installed on this node" in failed["msg"]
    assert [entry["state"] for entry in failed["picluster_status"]] == ["failed"]


def test_server_of_another_installer_is_neither_ours_nor_skipped(master: Master) -> None:
    master.write(UNIT, "[Unit]\nDescription=theirs\n")
    answer = check(master, optional=True)
    assert answer["failed"]
    assert "k3s.service was installed by other means" in answer["msg"]


def test_check_mode_skips_what_needs_the_running_cluster(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, check_mode=True)
    assert check(node)["skipped"]
    assert node.commands == []
