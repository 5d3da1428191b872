# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.picluster.cloud.plugins.module_utils.k3s import kubectl
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
from ansible_collections.picluster.cloud.plugins.modules import k3s_check
from ansible_collections.picluster.cloud.plugins.modules.k3s_check import NotWellError, Server, ask_pods, await_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REAL, STAND_IN = "v1.36.4+k3s1", "v1.36.4+k3s1-stand-in"


def node(name: str, ready: str = "True", version: str = REAL, message: str = "") -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "reason": "KubeletReady", "message": message}
    pressure = {"type": "MemoryPressure", "status": "False", "message": "fine"}
    status = {"conditions": [pressure, condition], "nodeInfo": {"kubeletVersion": version}}
    return {"metadata": {"name": name}, "status": status}


def listing(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(items)}


def test_each_expected_node_gets_its_own_verdict() -> None:
    nodes = listing(
        node("red1"),
        node("red2", "Unknown", message="Kubelet stopped posting node status."),
        {"metadata": {"name": "red4"}, "status": {}},
        node("old"),
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
    found = statuses(judge_nodes(listing(node("red1", version=STAND_IN)), ["red1"]), None, "")
    assert found[0]["state"] == "stand-in"
    assert "not Kubernetes" in found[0]["detail"]


def test_ready_node_whose_pod_did_not_answer_is_failed() -> None:
    verdicts = judge_nodes(listing(node("red1"), node("red2")), ["red1", "red2"])
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


def test_only_running_pods_with_an_address_are_asked() -> None:
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
    assert pod_trouble("red4", pods, {}) == "no pod was put on it"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Machine:
    """The server's machine: systemd, journal and kubectl by script."""

    def __init__(self) -> None:
        self.unit: Iterator[str] = iter(())
        self.last_unit = "ActiveState=active\nNRestarts=0\n"
        self.journal = ""
        self.kubectl: dict[str, Any] = {}
        self.asked: list[tuple[str, ...]] = []

    def run(self, *command: str, given: str = "") -> str:
        if command[0] == "systemctl":
            self.last_unit = next(self.unit, self.last_unit)
            return self.last_unit
        if command[0] == "journalctl":
            return self.journal
        words = tuple(word for word in command[2:] if not word.startswith(("--request", "--kubeconfig")))
        self.asked.append(words)
        answer = self.kubectl.get(" ".join(words[:2]), "")
        return str(answer(given) if callable(answer) else answer)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(k3s_check, "time", clock)
    return clock


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    machine = Machine()
    monkeypatch.setattr(kubectl, "BINARY", tmp_path / "k3s")
    monkeypatch.setattr(k3s_check, "address_of", lambda _: "")
    monkeypatch.setattr(k3s_check, "_run", machine.run)
    return machine


def test_wait_ends_when_the_core_is_up(monkeypatch: pytest.MonkeyPatch, clock: Clock, machine: Machine) -> None:
    answers = iter(["Connection refused", "HTTP 503", "ok"])
    monkeypatch.setattr(Server, "_readyz", lambda _: next(answers))
    Server("t", 300).wait()
    assert clock.now == 4.0
    assert machine.asked == []


@pytest.mark.usefixtures("clock")
def test_service_that_keeps_failing_is_given_up_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    monkeypatch.setattr(Server, "_readyz", lambda _: "Connection refused")
    machine.unit = iter([f"ActiveState=activating\nNRestarts={count}\n" for count in range(10)])
    machine.journal = 'time="x" level=fatal msg="failed to find memory cgroup"\nk3s.service: Scheduled restart job\n'
    with pytest.raises(NotWellError, match="after 3 restarts: failed to find memory cgroup"):
        Server("t", 300).wait()


@pytest.mark.usefixtures("machine")
def test_wait_ends_with_the_time(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(Server, "_readyz", lambda _: "HTTP 503")
    with pytest.raises(NotWellError, match=r"not answer in time \(HTTP 503\)"):
        Server("t", 30).wait()
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
def test_older_k3s_without_the_address_is_asked_by_kubectl(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, code: int, readyz: str, expected: str
) -> None:
    with answering(code) as address:
        monkeypatch.setattr(k3s_check, "READYZ", address)
        monkeypatch.setattr("ssl.create_default_context", lambda **_: None)
        machine.kubectl = {"get --raw=/readyz": readyz}
        assert Server("t", 300)._readyz() == expected


@pytest.mark.usefixtures("machine")
def test_server_is_asked_without_the_sites_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # discard: nobody listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # urlopen would keep an opener of a time without the proxy.
    monkeypatch.setattr("urllib.request._opener", None)
    with answering(200) as address:
        monkeypatch.setattr(k3s_check, "READYZ", address)
        monkeypatch.setattr("ssl.create_default_context", lambda **_: None)
        assert Server("t", 300)._readyz() == "ok"


def test_nodes_are_awaited_and_strays_named(clock: Clock, machine: Machine) -> None:
    # red3 is in the inventory, but dead or left out of this run.
    answers = iter([listing(node("red1")), listing(node("red1"), node("red2"), node("red3", "Unknown"), node("old"))])
    machine.kubectl = {"get nodes": lambda _: json.dumps(next(answers))}
    verdicts, more = await_nodes(Server("t", 300), ["red1", "red2"], ["red1", "red2", "red3"])
    assert all(verdict.ready for verdict in verdicts.values())
    assert more == ["old"]
    assert clock.now == 2.0


@pytest.mark.usefixtures("clock")
def test_node_that_does_not_come_is_named_with_the_servers_reason(machine: Machine) -> None:
    machine.kubectl = {"get nodes": json.dumps(listing(node("red1")))}
    machine.journal = "Node password rejected for red2\n"
    verdicts, more = await_nodes(Server("t", 10), ["red1", "red2", "red3"], [])
    assert more == []
    assert verdicts["red2"].detail == "has not joined; Node password rejected for red2"
    assert "journalctl -u k3s-agent" in verdicts["red3"].detail


@pytest.mark.usefixtures("clock")
def test_pods_are_asked_until_each_gives_its_nodes_name(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    said = {"10.42.0.1": iter([""]), "10.42.1.1": iter(["refused", ""])}
    monkeypatch.setattr(k3s_check, "ask_pod", lambda address, _: next(said[address]))
    pods = listing(pod("a", "red1", address="10.42.0.1"), pod("b", "red2", address="10.42.1.1"))
    machine.kubectl = {"apply --filename": "created", "get pods": json.dumps(pods)}
    assert ask_pods(Server("t", 60), ["red1", "red2"]) == {"red1": "", "red2": ""}
    assert machine.asked[-1][0] == "delete"


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("applied", ["created", ""])
def test_probe_is_removed_also_when_it_fails(machine: Machine, applied: str) -> None:
    machine.kubectl = {"apply --filename": applied, "get pods": json.dumps(listing(pod("a", "red1", "Pending")))}
    found = ask_pods(Server("t", 10), ["red1"])
    assert found["red1"]
    assert [words[0] for words in machine.asked].count("delete") == 2
    assert machine.asked[-1][0] == "delete"


@pytest.mark.usefixtures("clock")
def test_node_that_died_unnoticed_is_named_as_not_ready_and_not_by_its_pod(machine: Machine) -> None:
    silent = listing(node("red1", "Unknown", message="Kubelet stopped posting node status."))
    machine.kubectl = {"get nodes": json.dumps(silent)}
    machine.journal = "Node password rejected for red1\n"
    server = Server("t", 10)
    verdicts = k3s_check.explained(server, judge_nodes(server.get("nodes"), ["red1"]))
    assert verdicts["red1"].detail == (
        "NotReady: Kubelet stopped posting node status.; Node password rejected for red1"
    )


class Asked:
    """Runs the module on a node that is a directory."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = root, capsys
        monkeypatch.setattr(k3s_check, "ROOT", root)
        monkeypatch.setattr(Server, "_readyz", lambda _: "ok")
        # Ansible collects warnings once for a whole process.
        self.warnings: list[str] = []
        monkeypatch.setattr(AnsibleModule, "log", lambda *_, **__: None)
        monkeypatch.setattr(AnsibleModule, "warn", lambda _, text, **__: self.warnings.append(text))

    def unit(self, text: str) -> None:
        path = self.root / "etc/systemd/system/k3s.service"
        path.parent.mkdir(parents=True)
        path.write_text(text)

    def run(self, **arguments: Any) -> dict[str, Any]:
        given = {"expected_nodes": ["red1"], "timeout": 0, "pods": False} | arguments
        with patch_module_args(given), pytest.raises(SystemExit):
            k3s_check.main()
        answer: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return answer


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asked:
    return Asked(tmp_path / "node", monkeypatch, capsys)


@pytest.mark.parametrize("optional", [True, False])
def test_server_that_is_installed_is_asked_whatever_was_fetched(
    asked: Asked, machine: Machine, *, optional: bool
) -> None:
    asked.unit(f"{HEADER}[Unit]\n")
    machine.kubectl = {"get nodes": json.dumps(listing(node("red1", "False", message="broken")))}
    bad = asked.run(optional=optional)
    assert bad["failed"]
    assert "red1 NotReady: broken" in bad["msg"]
    machine.kubectl = {"get nodes": json.dumps(listing(node("red1"), node("red2", "Unknown"), node("old")))}
    good = asked.run(optional=optional, inventory_nodes=["red1", "red2"])
    assert [entry["state"] for entry in good["picluster_status"]] == ["ok"]
    assert good["strays"] == ["old"]
    assert [("old" in text, "red2" in text) for text in asked.warnings] == [(True, False)]


@pytest.mark.usefixtures("machine")
def test_no_server_is_skipped_only_where_k3s_is_optional(asked: Asked) -> None:
    skipped = asked.run(optional=True)
    assert not skipped.get("failed")
    assert skipped["picluster_status"] == [
        {"node": "red1", "layer": "k3s", "state": "skipped", "detail": "no artifact"}
    ]
    failed = asked.run(optional=False)
    assert failed["failed"]
    assert "no k3s server is installed on this node" in failed["msg"]
    assert [entry["state"] for entry in failed["picluster_status"]] == ["failed"]


@pytest.mark.usefixtures("machine")
def test_somebody_elses_server_is_neither_ours_nor_skipped(asked: Asked) -> None:
    asked.unit("[Unit]\nDescription=theirs\n")
    answer = asked.run(optional=True)
    assert answer["failed"]
    assert "k3s.service was installed by other means" in answer["msg"]
