# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import fcntl
import os
import signal
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import jobs
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.probe import NoAnswerError, State
from ansible_collections.picluster.cloud.plugins.modules import hadoop_check

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = {"GPL-3": b"to be or not to be\n"}


class Cluster:
    """As much of YARN's and HDFS' REST interfaces and command line as a check asks."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.running: dict[str, dict[str, str]] = {}
        self.folders: list[dict[str, Any]] = []
        self.deaf = False
        self.on_submit: Callable[[], None] = lambda: None
        self.state: dict[str, str] = {"state": "RUNNING", "finalStatus": "UNDEFINED"}

    @property
    def killed(self) -> list[list[str]]:
        return [command[command.index("-kill") + 1 :] for command in self.commands if "-kill" in command]

    def run(self, command: list[str], **_options: Any) -> tuple[int, str, str]:
        self.commands.append(command)
        if "-submit" in command:
            name = Path(command[-1]).read_text().partition("<name>mapreduce.job.name</name>")[2]
            name = name.partition("<value>")[2].partition("</value>")[0]
            self.running["application_7_2"] = {"id": "application_7_2", "user": "pi", "name": name}
            self.on_submit()
            return 0, "", "Job job_7_2 was submitted"
        for job in self.killed[-1] if "-kill" in command else []:
            del self.running[job]
        return 0, "", ""

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
    one = Cluster()
    monkeypatch.setattr(hadoop_check, "fetch", one.fetch)
    monkeypatch.setattr(jobs, "fetch", one.fetch)
    monkeypatch.setattr(hadoop_check, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(hadoop_check, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(hadoop_check.pwd, "getpwnam", lambda _name: SimpleNamespace(pw_uid=1000, pw_gid=1000))
    monkeypatch.setattr(hadoop_check.os, "chown", lambda *_arguments: None)
    return one


def checker(cluster: Cluster, timeout: float = 0.05) -> hadoop_check.Checker:
    params = {"master": "red1", "user": "pi", "expected_workers": ["red2"], "timeout": timeout}
    return hadoop_check.Checker(SimpleNamespace(params=params, run_command=cluster.run))


def test_a_job_that_does_not_end_in_time_is_killed(cluster: Cluster) -> None:
    with pytest.raises(hadoop_check.CheckError, match="job_7_2 is RUNNING after"):
        checker(cluster).count(TEXTS)
    assert cluster.killed == [["application_7_2"]]
    assert cluster.running == {}


@pytest.mark.parametrize("state", sorted(jobs.FINAL))
def test_a_job_that_has_ended_costs_no_further_command(cluster: Cluster, state: str) -> None:
    cluster.state = {"state": state, "finalStatus": "FAILED"}
    with pytest.raises(hadoop_check.CheckError, match=f"job_7_2 is {state}"):
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
    with pytest.raises(hadoop_check.CheckError, match="job_7_2 is unknown after"):
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
    with pytest.raises(hadoop_check.CheckError, match="came back from HDFS"):  # nothing reads back here
        checker(cluster).count(TEXTS)
    assert cluster.killed == [["application_7_3", "application_7_4"]]
    assert "-put" in cluster.commands[1]


def test_without_abandoned_jobs_nothing_is_started_for_them(cluster: Cluster) -> None:
    cluster.running["application_7_9"] = {"id": "application_7_9", "user": "pi", "name": "thesis"}
    checker(cluster)._kill(jobs.ANY_JOB)
    assert cluster.commands == []


def test_a_check_that_still_runs_keeps_its_job(cluster: Cluster, tmp_path: Path) -> None:
    cluster.running["application_7_1"] = {"id": "application_7_1", "user": "pi", "name": "picluster-check-1-1"}
    with (tmp_path / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with pytest.raises(hadoop_check.CheckError):
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

    monkeypatch.setattr(hadoop_check, "opener", Direct)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_a, **_k: pytest.fail("went by root's proxy"))
    cluster.folders = [{"pathSuffix": "picluster-check-9-1-in", "modificationTime": 1}, {}]
    checker(cluster)._clean("/user/pi", "picluster-check-9-1")
    assert asked == [
        "DELETE http://red1:9870/webhdfs/v1/user/pi/picluster-check-9-1-in?op=DELETE&recursive=true&user.name=pi"
    ]


def test_an_answer_without_folders_is_no_missing_user(cluster: Cluster) -> None:
    checker(cluster)._clean("/user/pi", "picluster-check-9-1")
    assert hadoop_check.abandoned([{}, {"pathSuffix": "picluster-check-1-1"}], "picluster-check-9-1", 9e9) == []


def test_an_unknown_user_is_one_sentence_and_another_missing_key_is_not_taken_for_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> NoReturn:
        raise KeyError("other")

    cluster.on_submit = broken
    with pytest.raises(KeyError, match="other"):
        hadoop_check.answer_or_error(checker(cluster), Path(__file__).parent)

    def unknown(name: str) -> NoReturn:
        raise KeyError(name)

    monkeypatch.setattr(hadoop_check.pwd, "getpwnam", unknown)
    with pytest.raises(hadoop_check.CheckError, match="there is no user pi on this node"):
        hadoop_check.answer_or_error(checker(cluster), Path(__file__).parent)


def test_a_full_card_is_one_sentence(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x/GPL-3")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(hadoop_check.CheckError, match=r"GPL-3 cannot be written: No space left on device; check the"):
        hadoop_check.answer_or_error(checker(cluster), Path(__file__).parent)


def test_a_text_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: Path) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/x/GPL-3")

    (tmp_path / "GPL-3").touch()
    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(hadoop_check.CheckError, match=r"/x/GPL-3 cannot be read: Input/output error"):
        hadoop_check.texts_of(tmp_path)


class Exit(Exception):  # noqa: N818 - stands for the end of a module
    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(result)
        self.result = result


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_check_that_is_told_to_end_kills_its_job_and_says_so(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """What a lost connection or an operator's `kill` does to the module."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text/GPL-3").write_bytes(b"to be")

    def fail_json(**result: Any) -> NoReturn:
        raise Exit(result)

    def module(**_spec: Any) -> SimpleNamespace:
        params = {
            "master": "red1",
            "user": "pi",
            "expected_workers": ["red2"],
            "timeout": 30,
            "text": str(tmp_path / "text"),
        }
        return SimpleNamespace(params=params, run_command=cluster.run, fail_json=fail_json)

    state = State(there={"hdfs": {"red2": "DataNode"}, "yarn": {"red2": "NodeManager"}})
    monkeypatch.setattr(hadoop_check, "AnsibleModule", module)
    monkeypatch.setattr(hadoop_check.Checker, "wait", lambda _self: state)
    cluster.on_submit = lambda: os.kill(os.getpid(), number)
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        with pytest.raises(Exit) as ended:
            hadoop_check.main()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert ended.value.result["msg"] == f"the check was ended by {number.name}."
    assert cluster.killed == [["application_7_2"]]
    failed = [row for row in ended.value.result["picluster_status"] if row["state"] != "ok"]
    assert [(row["node"], row["layer"]) for row in failed] == [("red1", "yarn")]
