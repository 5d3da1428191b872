"""The table at the end of a run."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.callback import summary as callback
from ansible_collections.picluster.cloud.plugins.plugin_utils.node import summary as node_summary
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.summary import NodeSummary, Style, Summary

if TYPE_CHECKING:
    from pathlib import Path


def status(node: str, layer: str, state: str, detail: str = "") -> dict[str, Any]:
    return {"picluster_status": [{"node": node, "layer": layer, "state": state, "detail": detail}]}


def two_nodes() -> Summary:
    nodes = {"red1": NodeSummary(ssh="ok", changed=2, tasks=12), "red2": NodeSummary(ssh="ok", tasks=9)}
    return Summary(nodes, columns=["docker", "k3s", "hdfs", "yarn"])


def test_the_table_has_a_row_a_node_and_a_column_a_layer_in_fixed_order() -> None:
    summary = two_nodes()
    summary.collect(status("red1", "hdfs", "ok"))
    summary.collect(status("red1", "docker", "ok"))
    summary.collect(status("red2", "k3s", "skipped", "no artifact"))
    summary.collect({"picluster_answer": "MapReduce counted 12 words"})
    assert node_summary.table(summary, Style(width=100)) == [
        "+------+-----+--------+----------------------+------+---------+-------+",
        "| node | ssh | docker | k3s                  | hdfs | changed | tasks |",
        "+------+-----+--------+----------------------+------+---------+-------+",
        "| red1 | ok  | ok     | -                    | ok   |       2 |    12 |",
        "| red2 | ok  | -      | skipped: no artifact | -    |       0 |     9 |",
        "+------+-----+--------+----------------------+------+---------+-------+",
        "MapReduce counted 12 words",
    ]


def test_an_unreachable_node_is_never_ok() -> None:
    summary = two_nodes()
    summary.collect(status("red2", "k3s", "ok"))
    summary.nodes["red2"].dead = True
    assert summary.as_json()["nodes"]["red2"]["layers"] == {"k3s": "-"}


def test_the_reason_of_a_failed_layer_is_below_the_table() -> None:
    summary = two_nodes()
    summary.collect(status("red1", "docker", "failed", "no bridge"))
    assert node_summary.failures(summary) == ["red1 docker: no bridge"]


def test_a_reason_is_not_repeated() -> None:
    summary = two_nodes()
    summary.collect(status("red1", "docker", "failed", "no bridge"))
    summary.nodes["red1"].failed = True
    summary.nodes["red1"].failures.append(node_summary.Failure("Run a container", "no bridge"))
    assert node_summary.failures(summary) == ['red1 failed at "Run a container": no bridge']


def test_statuses_in_a_loop_s_items_count_and_strangers_do_not() -> None:
    summary = two_nodes()
    summary.collect({"results": [status("red1", "hdfs", "ok"), status("green9", "hdfs", "ok"), "text"]})
    assert summary.layers() == ["hdfs"]
    assert set(summary.nodes) == {"red1", "red2"}


def test_a_narrow_terminal_gets_a_narrow_table() -> None:
    summary = two_nodes()
    summary.collect(status("red2", "k3s", "skipped", "no artifact"))
    assert max(len(line) for line in node_summary.table(summary, Style(width=52))) <= 52


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            (
                "Task failed: Failed to connect to the host via ssh: ssh: connect to host 192.168.63.13 port 22: "
                "No route to host"
            ),
            "ssh: connect to host 192.168.63.13 port 22: No route to host",
        ),
        (
            (
                'Data could not be sent to remote host "10.0.0.9". Make sure this host can be reached over ssh: '
                "Warning: Permanently added 'red1' (ED25519) to the list of known hosts.\r\nssh: connect to host "
                "10.0.0.9 port 22: Connection refused"
            ),
            "ssh: connect to host 10.0.0.9 port 22: Connection refused",
        ),
        ("Task failed: Module failed: eth0 has no address", "eth0 has no address"),
        ("two\n\n  lines", "two lines"),
        (
            (
                "Task failed: @@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@\n"
                "  remove with:\n  ssh-keygen -f 'k' -R 'red1'\nHost key for red1 has changed."
            ),
            "its host key has changed; if its card was burnt again, run: ssh-keygen -f 'k' -R 'red1'",
        ),
    ],
)
def test_only_the_cause_is_shown(message: str, cause: str) -> None:
    assert node_summary.reason({"msg": message}) == cause


def test_a_loop_s_reason_is_that_of_its_first_failed_item() -> None:
    result = {
        "msg": "One or more items failed",
        "results": [{"failed": False, "msg": "fine"}, {"failed": True, "msg": "disk full"}],
    }
    assert node_summary.reason(result) == "disk full"


def test_a_failure_without_words_still_has_a_line() -> None:
    assert node_summary.reason({}) == "no reason given"
    lost = (
        'Task failed: Data could not be sent to remote host "10.0.0.1". Make sure this host can be reached over ssh: '
    )
    assert node_summary.reason({"msg": lost, "unreachable": True}) == "the connection was lost"
    hangs = {"msg": "Task failed: Timeout (12s) waiting for privilege escalation prompt: ", "unreachable": True}
    assert node_summary.reason(hangs).startswith("the node no longer answers (Timeout (12s)")
    assert len(node_summary.reason({"msg": "x" * 9000})) == 400


class Run:
    """A playbook run as Ansible tells it to a callback."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, file: str | None = None) -> None:
        self.lines: list[str] = []
        self.plugin = callback.CallbackModule()
        self.plugin._display = SimpleNamespace(display=self.lines.append, warning=self.lines.append)
        monkeypatch.setattr(self.plugin, "get_option", lambda _name: file)

    def start(self, hosts: list[str], nodes: list[str]) -> None:
        variables = {"groups": {"nodes": nodes}, "ansible_play_hosts_all": hosts}
        manager = SimpleNamespace(get_vars=lambda **_options: variables)
        self.plugin.v2_playbook_on_play_start(SimpleNamespace(get_variable_manager=lambda: manager))

    @staticmethod
    def result(node: str, action: str = "picluster.cloud.identity", **result: Any) -> Any:
        task = SimpleNamespace(name="Name the node", action=action, delegate_to=None, run_once=False)
        return SimpleNamespace(host=SimpleNamespace(get_name=lambda: node), task=task, result=result)

    def end(self, dark: dict[str, int] | None = None, failures: dict[str, int] | None = None) -> None:
        self.plugin.v2_playbook_on_stats(SimpleNamespace(dark=dark or {}, failures=failures or {}))


def test_a_run_is_told_as_table_and_as_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "summary.json"
    run = Run(monkeypatch, str(target))
    run.plugin.v2_playbook_on_start(None)
    run.start(["localhost"], ["red2", "red1", "red3"])
    assert run.plugin._summary.columns == ["docker", "k3s", "hdfs", "yarn"]
    run.start(["red1", "red2", "red3"], ["red2", "red1", "red3"])
    run.plugin.v2_runner_on_ok(run.result("red1", changed=True))
    run.plugin.v2_runner_on_ok(run.result("red1", action="ansible.builtin.set_fact", changed=True))
    run.plugin.v2_runner_on_failed(run.result("red2", msg="Task failed: no"))
    now = iter([100.0, 162.4])
    monkeypatch.setattr(callback.time, "monotonic", lambda: next(now))
    gone = run.result("red3", msg="gone", unreachable=True)
    run.plugin.v2_runner_on_start(gone.host, gone.task)
    run.plugin.v2_runner_on_unreachable(gone)
    run.end(dark={"red3": 1}, failures={"red2": 1})
    nodes = json.loads(target.read_text(encoding="utf-8"))["nodes"]
    assert list(nodes) == ["red2", "red1", "red3"]
    assert nodes["red1"] == {"ssh": "ok", "layers": {}, "details": {}, "changed": 1, "tasks": 1, "failures": []}
    assert nodes["red2"]["failures"] == [{"task": "Name the node", "reason": "no", "state": "failed"}]
    assert nodes["red3"]["ssh"] == "unreachable"
    assert any(line.startswith('red3 unreachable at "Name the node": gone; given up after 62 s') for line in run.lines)


def test_a_failure_that_was_rescued_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch)
    run.plugin.v2_playbook_on_start(None)
    run.start(["red1"], ["red1"])
    run.plugin.v2_runner_on_failed(run.result("red1", msg="no"))
    run.end()
    assert not any("failed" in line for line in run.lines)


def test_every_failure_of_a_node_is_told_and_the_task_that_sums_them_up_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = tmp_path / "summary.json"
    run = Run(monkeypatch, str(target))
    run.plugin.v2_playbook_on_start(None)
    run.start(["red1"], ["red1"])
    for reason in ("sshd refuses", "Docker refuses"):
        run.plugin.v2_runner_on_failed(run.result("red1", msg=reason))
    run.plugin.v2_runner_on_failed(run.result("red1", action="ansible.builtin.fail", msg="ssh, docker failed"))
    run.end(failures={"red1": 1})
    told = json.loads(target.read_text(encoding="utf-8"))["nodes"]["red1"]["failures"]
    assert [failure["reason"] for failure in told] == ["sshd refuses", "Docker refuses"]
    assert sum("red1 failed at" in line for line in run.lines) == 2


def test_a_failure_on_the_controller_for_all_nodes_is_no_node_s(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch)
    run.plugin.v2_playbook_on_start(None)
    run.start(["red1"], ["red1"])
    result = run.result("red1", msg="the inventory has one problem")
    result.task.delegate_to, result.task.run_once = "localhost", True
    run.plugin.v2_runner_on_failed(result)
    run.end(failures={"red1": 1})
    assert run.lines == []
    assert run.plugin._summary.nodes["red1"].failures == []


def test_a_node_that_only_local_tasks_ran_for_was_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch)
    run.start(["red1"], ["red1"])
    run.plugin.v2_runner_on_ok(run.result("red1", action="ansible.builtin.debug"))
    assert run.plugin._summary.nodes["red1"].ssh == "-"


@pytest.mark.parametrize("playbook", [True, False])
def test_runs_without_the_nodes_and_ad_hoc_commands_say_nothing(
    monkeypatch: pytest.MonkeyPatch, *, playbook: bool
) -> None:
    run = Run(monkeypatch)
    if playbook:
        run.plugin.v2_playbook_on_start(None)
    run.start(["localhost"] if playbook else ["red1"], ["red1"])
    run.end()
    assert run.lines == []


def test_a_file_that_cannot_be_written_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = Run(monkeypatch, str(tmp_path / "missing" / "summary.json"))
    run.plugin.v2_playbook_on_start(None)
    run.end()
    assert run.lines == [f"the summary cannot be written to {tmp_path}/missing/summary.json: No such file or directory"]
