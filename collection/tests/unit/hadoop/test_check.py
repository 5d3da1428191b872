# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import fcntl
import os
import pwd
import signal
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from fakenode import RUNNING, FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import check
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.check import HadoopCheck
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.probe import HadoopState, NoAnswerError
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.modules.hadoop_check import converge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEXTS = {"GPL-3": b"to be or not to be\n"}


class Cluster:
    """As much of YARN's and HDFS' REST interfaces and command line as a check asks."""

    def __init__(self, root: Path) -> None:
        self.node = FakeNode(root, {"runuser -u pi --": self.run})
        self.node.path("/run").mkdir()
        self.node.path("/var/tmp").mkdir(parents=True)  # noqa: S108 - in the test's folder
        self.commands: list[tuple[str, ...]] = []
        self.running: dict[str, dict[str, str]] = {}
        self.folders: list[dict[str, Any]] = []
        self.deaf = False
        self.on_submit: Callable[[], None] = lambda: None
        self.state: dict[str, str] = {"state": "RUNNING", "finalStatus": "UNDEFINED"}

    @property
    def killed(self) -> list[list[str]]:
        return [list(command[command.index("-kill") + 1 :]) for command in self.commands if "-kill" in command]

    def run(self, *command: str) -> str:
        self.commands.append(command)
        if "-submit" in command:
            name = Path(command[-1]).read_text().partition("<name>mapreduce.job.name</name>")[2]
            name = name.partition("<value>")[2].partition("</value>")[0]
            self.running["application_7_2"] = {"id": "application_7_2", "user": "pi", "name": name}
            self.on_submit()
            return "Job job_7_2 was submitted"
        for job in self.killed[-1] if "-kill" in command else []:
            del self.running[job]
        return ""

    def fetch(self, url: str) -> dict[str, Any]:
        if self.deaf:
            raise NoAnswerError("timed out")
        if "LISTSTATUS" in url:
            return {"FileStatuses": {"FileStatus": self.folders}} if self.folders else {}
        if "/apps/" in url:
            return {"app": self.state}
        assert "states=NEW%2CNEW_SAVING%2CSUBMITTED%2CACCEPTED%2CRUNNING" in url
        return {"apps": {"app": list(self.running.values())} if self.running else None}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    one = Cluster(tmp_path)
    monkeypatch.setattr(check, "fetch", one.fetch)
    monkeypatch.setattr(check, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: SimpleNamespace(pw_uid=os.getuid(), pw_gid=os.getgid()))
    return one


def options(timeout: float = 1, **given: Any) -> dict[str, Any]:
    text = str(Path(__file__).parent)
    return {"master": "red1", "user": "pi", "expected_workers": ["red2"], "timeout": timeout, "text": text, **given}


def checker(cluster: Cluster, timeout: float = 0.05) -> HadoopCheck:
    return HadoopCheck(cluster.node, options(timeout))


def test_a_job_that_does_not_end_in_time_is_killed(cluster: Cluster) -> None:
    with pytest.raises(UserError, match="job_7_2 is RUNNING after"):
        checker(cluster).count(TEXTS)
    assert cluster.killed == [["application_7_2"]]
    assert cluster.running == {}


@pytest.mark.parametrize("state", sorted(check.FINAL))
def test_a_job_that_has_ended_costs_no_further_command(cluster: Cluster, state: str) -> None:
    cluster.state = {"state": state, "finalStatus": "FAILED"}
    with pytest.raises(UserError, match=f"job_7_2 is {state}"):
        checker(cluster, timeout=30).count(TEXTS)
    assert cluster.killed == []


def interrupted() -> NoReturn:
    raise KeyboardInterrupt


def test_a_job_is_killed_although_its_submission_never_returned(cluster: Cluster) -> None:
    cluster.on_submit = interrupted
    with pytest.raises(KeyboardInterrupt):
        checker(cluster).count(TEXTS)
    assert cluster.killed == [["application_7_2"]]


def test_a_manager_that_does_not_answer_does_not_hide_why_the_check_failed(cluster: Cluster) -> None:
    cluster.on_submit = lambda: setattr(cluster, "deaf", True)
    with pytest.raises(UserError, match="job_7_2 is unknown after"):
        checker(cluster).count(TEXTS)
    assert cluster.killed == []


def test_jobs_of_killed_checks_are_killed_by_one_command_and_no_others_are(cluster: Cluster) -> None:
    cluster.running = {
        f"application_7_{number}": {"id": f"application_7_{number}", "user": user, "name": name}
        for number, (user, name) in enumerate(
            [
                ("pi", "picluster-check-1-1"),
                ("pi", "picluster-check"),
                ("ann", "picluster-check-1-1"),
                ("pi", "thesis"),
            ],
            3,
        )
    }
    cluster.state = {"state": "FINISHED", "finalStatus": "SUCCEEDED"}
    with pytest.raises(
        UserError, match="GPL-3 differs when read back from HDFS: 0 bytes, sent 19"
    ):  # nothing reads back here
        checker(cluster).count(TEXTS)
    assert cluster.killed == [["application_7_3", "application_7_4"]]
    assert "-put" in cluster.commands[1]


def test_without_abandoned_jobs_nothing_is_started_for_them(cluster: Cluster) -> None:
    cluster.running["application_7_9"] = {"id": "application_7_9", "user": "pi", "name": "thesis"}
    checker(cluster).kill(check.ANY_JOB)
    assert cluster.commands == []


def test_a_check_that_still_runs_keeps_its_job(cluster: Cluster, tmp_path: Path) -> None:
    cluster.running["application_7_1"] = {"id": "application_7_1", "user": "pi", "name": "picluster-check-1-1"}
    with (tmp_path / "run/picluster-hadoop-check.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with pytest.raises(UserError):
            checker(cluster).count(TEXTS)
    assert cluster.killed == [["application_7_2"]]


def test_what_it_wrote_is_removed_without_a_proxy(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Direct:
        def open(self, request: urllib.request.Request, timeout: float) -> Direct:
            asked.append(f"{request.get_method()} {request.full_url}")
            return self

        def close(self) -> None:
            return

    monkeypatch.setattr(check, "opener", Direct)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_a, **_k: pytest.fail("went by root's proxy"))
    cluster.folders = [{"pathSuffix": "picluster-check-9-1-in", "modificationTime": 1}, {}]
    checker(cluster).clean("/user/pi", "picluster-check-9-1")
    assert asked == [
        "DELETE http://red1:9870/webhdfs/v1/user/pi/picluster-check-9-1-in?op=DELETE&recursive=true&user.name=pi"
    ]


def test_an_answer_without_folders_is_no_missing_user(cluster: Cluster) -> None:
    checker(cluster).clean("/user/pi", "picluster-check-9-1")
    assert check.abandoned([{}, {"pathSuffix": "picluster-check-1-1"}], "picluster-check-9-1", 9e9) == []


def test_an_unknown_user_is_one_sentence_and_another_missing_key_is_not_taken_for_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> NoReturn:
        raise KeyError("other")

    cluster.on_submit = broken
    with pytest.raises(KeyError, match="other"):
        checker(cluster)._use(Path(__file__).parent)

    def unknown(name: str) -> NoReturn:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(UserError, match="user does not exist on this node: pi; set user"):
        checker(cluster)._use(Path(__file__).parent)


def test_a_full_card_is_one_sentence(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x/GPL-3")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"GPL-3 cannot be written: No space left on device; check the"):
        checker(cluster)._use(Path(__file__).parent)


def test_only_its_own_and_long_abandoned_leftovers_are_removed() -> None:
    entries = [
        {"pathSuffix": "picluster-check-9-1-in", "modificationTime": 10_000_000},
        {"pathSuffix": "picluster-check-1-1-out", "modificationTime": 0},
        {"pathSuffix": "picluster-check-2-2-in", "modificationTime": 9_000_000},
        {"pathSuffix": "thesis", "modificationTime": 0},
    ]
    found = check.abandoned(entries, "picluster-check-9-1", now=10_000.0)
    assert found == ["picluster-check-9-1-in", "picluster-check-1-1-out"]


def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    state = HadoopState(there={"hdfs": {"red2": "DataNode"}, "yarn": {"red2": "NodeManager"}})
    monkeypatch.setattr(HadoopCheck, "_wait", lambda _self: state)


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def failed_rows(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    assert answer["failed"] is True
    return [(row["node"], row["layer"], row["detail"]) for row in answer["picluster_status"] if row["state"] != "ok"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("handlers")
def test_a_check_that_is_told_to_end_kills_its_job_and_says_so(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """What a lost connection or an operator's `kill` does to the module."""
    healthy(monkeypatch)
    cluster.on_submit = lambda: os.kill(os.getpid(), number)
    answer = converge(cluster.node, options(timeout=30))
    assert answer["msg"] == f"the check was ended by {number.name}; run it again"
    assert cluster.killed == [["application_7_2"]]
    assert failed_rows(answer) == [("red1", "yarn", answer["msg"])]


@pytest.mark.parametrize(("step", "layer"), [("dfs", "hdfs"), ("job", "yarn")])
@pytest.mark.usefixtures("handlers")
def test_a_failed_command_is_a_failure_of_its_layer(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, step: str, layer: str
) -> None:
    healthy(monkeypatch)
    said = "1 INFO begin\n\tat java.Main\nNo space\n"
    real = cluster.run
    cluster.node.answers["runuser -u pi --"] = lambda *command: (
        Outcome(1, err=said) if step in command else real(*command)
    )
    answer = converge(cluster.node, options())
    ((node, found, detail),) = failed_rows(answer)
    assert (node, found) == ("red1", layer)
    assert detail.endswith(" failed (exit code 1): No space")


@pytest.mark.usefixtures("handlers")
def test_a_right_answer_is_one_line(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    healthy(monkeypatch)
    cluster.state = {"state": "FINISHED", "finalStatus": "SUCCEEDED"}
    real = cluster.run
    (tmp_path / "text").mkdir()
    (tmp_path / "text/GPL-3").write_bytes(TEXTS["GPL-3"])

    def run(*command: str) -> str:
        if "-get" in command:
            source, target, back = command[-3:]
            for name, text in ((source, TEXTS["GPL-3"]), (target, b"be\t2\nnot\t1\nor\t1\nto\t2\n")):
                folder = Path(back) / Path(name).name
                folder.mkdir()
                (folder / ("GPL-3" if name == source else "part-r-00000")).write_bytes(text)
        return real(*command)

    cluster.node.answers["runuser -u pi --"] = run
    answer = converge(cluster.node, options(timeout=30, text=str(tmp_path / "text")))
    assert answer["picluster_answer"] == "MapReduce counted 6 words in 1 files; the independent count agrees"
    assert set(answer["seconds"]) == {"wait", "write", "submit", "job", "read"}


def test_a_cluster_that_is_not_complete_names_the_nodes_and_what_stopped_here(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = HadoopState(absent={"hdfs": {"red2": "Decommissioned"}, "yarn": {"red2": "LOST"}})
    monkeypatch.setattr(check, "query_cluster", lambda *_: state)
    cluster.node.unit_states = {
        "hadoop-namenode.service": dict(RUNNING),
        "hadoop-historyserver.service": RUNNING | {"ActiveState": "failed"},
    }
    cluster.node.answers["journalctl"] = "line 1\nline 2\n"
    answer = converge(cluster.node, options())
    assert answer["msg"] == (
        "Hadoop is not complete after 1 s: red2 (hdfs): Decommissioned; red2 (yarn): LOST; "
        "hadoop-historyserver.service is failed, its last log lines: line 1 | line 2"
    )
    assert [row[:2] for row in failed_rows(answer)] == [("red2", "hdfs"), ("red2", "yarn")]


def test_without_workers_there_is_nothing_to_check(cluster: Cluster) -> None:
    with pytest.raises(UserError, match="expected_workers is empty; list"):
        converge(cluster.node, options(expected_workers=[]))


def test_check_mode_runs_no_job(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, check_mode=True)
    assert converge(node, options())["skipped"] is True
    assert node.commands == []
