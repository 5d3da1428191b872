#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Module hadoop_check: ask HDFS and YARN what a user would ask."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hadoop_check
short_description: Ask HDFS and YARN what a user would ask
description:
  - Runs on the master. Waits until HDFS has left safe mode and all expected workers take part, puts a real text into
    HDFS as an ordinary user, counts its words by YARN, reads text and counts back and compares both with what was
    sent and with an independent count. Removes what it wrote, and kills its job where that has not ended in time.
  - The job is WordCount out of MapReduce's own TokenCounterMapper and IntSumReducer. The jar with the example of that
    name is in Apache's archive but not to be had from Maven.
  - Jobs of a check that was killed itself are killed by the next.
  - Never reports a change.
author: [The picluster authors]
attributes:
  check_mode:
    support: none
    description: It asks a running cluster; skipped in check mode.
  diff_mode:
    support: none
    description: There is no text to compare.
  idempotent:
    support: full
options:
  master:
    description: Name of the node with NameNode and ResourceManager.
    type: str
    required: true
  expected_workers:
    description: Names of the workers that must take part.
    type: list
    elements: str
    required: true
  text:
    description: Folder on this node whose files are counted.
    type: path
    default: /usr/share/common-licenses
  user:
    description: The ordinary user who runs the job; must have a folder in HDFS.
    type: str
    required: true
  timeout:
    description: Seconds to wait for the cluster, and again for the job.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Ask HDFS and YARN
  picluster.cloud.hadoop_check:
    master: red1
    expected_workers: [red2, red3]
    user: pi
"""

RETURN = r"""
picluster_status:
  description: For each node and layer (hdfs, yarn) its state and a word on it.
  returned: always
  type: list
  elements: dict
picluster_answer:
  description: The job's answer in one line.
  returned: success
  type: str
  sample: MapReduce counted 12,345 words in 18 files; the independent count agrees
seconds:
  description: How long waiting, writing, the job and reading back took.
  returned: success
  type: dict
"""

import os
import pwd
import re
import signal
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import LINK, render_xml
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.jobs import (
    ANY_JOB,
    FINAL,
    PREFIX,
    attended,
    unfinished,
)
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import DAEMONS
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.probe import (
    ANSWER_SECONDS,
    NoAnswerError,
    State,
    ask,
    compare,
    count_words,
    describe,
    fetch,
    find_gone,
    job_properties,
    parse_counts,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.http import opener
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import card_trouble

POLL_SECONDS = 1.0
# What a killed check left behind is removed by a later one.
ABANDONED_SECONDS = 3600
MOST_MAPS = 4
KILL_SECONDS = 60
LOCK = Path("/run/picluster-hadoop-check.lock")


class EndedError(BaseException):
    """This check is to end now; passes by whoever takes errors, cleans up on its way."""


class CheckError(Exception):
    """The cluster does not do what it should; the message says what it did."""

    def __init__(self, message: str, layer: str) -> None:
        super().__init__(message)
        self.layer = layer


def texts_of(folder: Path) -> dict[str, bytes]:
    """The regular files of a folder by name; links are other names of the same text.

    Raises:
        CheckError: there is nothing to count.
    """
    files = (
        sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink()) if folder.is_dir() else []
    )
    # Hadoop takes no notice of names with these beginnings.
    try:
        texts = {path.name: path.read_bytes() for path in files if not path.name.startswith((".", "_"))}
    except OSError as error:
        raise CheckError(
            f"{error.filename or folder} cannot be read: {error.strerror}; give hadoop_check_text another folder",
            "hdfs",
        ) from error
    if not any(texts.values()):
        raise CheckError(f"{folder} holds no text to count; give hadoop_check_text another folder", "hdfs")
    return texts


def abandoned(entries: list[dict[str, Any]], own: str, now: float) -> list[str]:
    """The names that this check, or one killed long ago, has written."""
    ages = {
        str(entry.get("pathSuffix")): now - float(entry.get("modificationTime", now * 1000)) / 1000 for entry in entries
    }
    return [
        name
        for name, age in ages.items()
        if name.startswith(own) or (name.startswith(PREFIX) and age > ABANDONED_SECONDS)
    ]


def complaint(output: str) -> str:
    """The words of a Hadoop command that say why: without its progress and without stack traces."""
    lines = [line for line in output.splitlines() if line.strip() and " INFO " not in line and "\tat " not in line]
    return " | ".join(line.strip() for line in lines[-4:])[-800:]


class Checker:
    """One check of one cluster."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.master: str = module.params["master"]
        self.user: str = module.params["user"]
        self.expected: list[str] = module.params["expected_workers"]
        self.timeout: int = module.params["timeout"]
        self.seconds: dict[str, float] = {}
        self.job_may_run = False

    def wait(self) -> State:
        """Polls until the cluster is ready or the time is over. Returns its last state."""
        deadline = time.monotonic() + self.timeout
        while True:
            state = ask(self.master, self.user)
            if state.ready(self.expected):
                find_gone(state, self.expected)
            if state.ready(self.expected) or time.monotonic() > deadline:
                return state
            time.sleep(POLL_SECONDS)

    def count(self, texts: dict[str, bytes]) -> str:
        """Puts the texts into HDFS, counts by YARN, reads back, compares. Returns the answer.

        Raises:
            CheckError: anything went otherwise.
        """
        try:
            account = pwd.getpwnam(self.user)
        except KeyError:
            raise CheckError(f"there is no user {self.user} on this node to run the job", "hdfs") from None
        with attended(LOCK, lambda: self._kill(ANY_JOB)):
            return self._count(texts, account)

    def _count(self, texts: dict[str, bytes], account: pwd.struct_passwd) -> str:
        own = f"{PREFIX}{int(time.time())}-{os.getpid()}"
        home = f"/user/{self.user}"
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir="/var/tmp") as scratch:
            root = Path(scratch)
            source = root / f"{own}-in"
            back = root / "back"
            for folder in (source, back):
                folder.mkdir()
            for name, text in texts.items():
                (source / name).write_bytes(text)
            size = sum(len(text) for text in texts.values())
            tasks = min(MOST_MAPS, max(2, len(self.expected)))
            job = root / "job.xml"
            job.write_text(render_xml(job_properties(own, f"{home}/{own}-in", f"{home}/{own}-out", size, tasks)))
            for path in (root, *root.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid)
            try:
                self._run("write", "hdfs", "hdfs", "dfs", "-put", str(source), home)
                self._job(str(job))
                self._run("read", "hdfs", "hdfs", "dfs", "-get", f"{home}/{own}-in", f"{home}/{own}-out", str(back))
            finally:
                if self.job_may_run:
                    self._kill(re.compile(re.escape(own)))
                self._clean(home, own)
            self._compare_bytes(texts, back / source.name)
            outputs = [path.read_bytes() for path in sorted((back / f"{own}-out").glob("part-*"))]
        return self._compare_counts(texts, outputs)

    def _run(self, step: str, layer: str, tool: str, *arguments: str) -> str:
        seconds = KILL_SECONDS if step == "kill" else self.timeout
        command = ["runuser", "-u", self.user, "--", "timeout", str(seconds), f"{LINK}/bin/{tool}"]
        started = time.monotonic()
        code, out, err = self.module.run_command([*command, "--config", "/etc/hadoop", *arguments], cwd="/")
        self.seconds[step] = round(time.monotonic() - started, 1)
        if code:
            raise CheckError(
                f"{tool} {' '.join(arguments[:2])} failed (exit code {code}): {complaint(out + err)}", layer
            )
        return f"{out}\n{err}"

    def _job(self, job: str) -> None:
        self.job_may_run = True  # also where the submission does not return
        output = self._run("submit", "yarn", "mapred", "job", "-submit", job)
        found = re.search(r"\bjob_(\d+_\d+)\b", output)
        if not found:
            raise CheckError(f"mapred job -submit named no job: {output.strip()[-300:]}", "yarn")
        url = f"http://{self.master}:8088/ws/v1/cluster/apps/application_{found[1]}"
        started = time.monotonic()
        app: dict[str, Any] = {}
        while time.monotonic() - started < self.timeout:
            with suppress(NoAnswerError):  # asked again until the time is over
                app = fetch(url).get("app") or {}
            if app.get("state") in FINAL:
                self.job_may_run = False
                break
            time.sleep(POLL_SECONDS)
        self.seconds["job"] = round(time.monotonic() - started, 1)
        if app.get("finalStatus") != "SUCCEEDED":
            diagnostics = " ".join(str(app.get("diagnostics") or "").split())[:500]
            raise CheckError(
                f"job_{found[1]} is {app.get('state', 'unknown')} after {self.seconds['job']:.0f} s: {diagnostics}",
                "yarn",
            )

    def _kill(self, name: re.Pattern[str]) -> None:
        """Kills the user's jobs of this name, by one JVM for all, and by none where there is nothing to kill.

        What cannot be killed now is killed by a later check.
        """
        with suppress(NoAnswerError, CheckError):
            jobs = unfinished(self.master, self.user, name)
            if jobs:
                self._run("kill", "yarn", "yarn", "application", "-kill", *jobs)

    def _clean(self, home: str, own: str) -> None:
        """Removes what was written, over WebHDFS; what cannot be removed now is removed by a later check."""
        base = f"http://{self.master}:9870/webhdfs/v1{urllib.parse.quote(home)}"
        query = f"user.name={urllib.parse.quote(self.user)}"
        with suppress(NoAnswerError, OSError):
            statuses = fetch(f"{base}?op=LISTSTATUS&{query}").get("FileStatuses") or {}
            entries = statuses.get("FileStatus") or []
            for name in abandoned(entries, own, time.time()):
                url = f"{base}/{urllib.parse.quote(name)}?op=DELETE&recursive=true&{query}"
                request = urllib.request.Request(url, method="DELETE")  # noqa: S310 - always http, to our NameNode
                opener().open(request, timeout=ANSWER_SECONDS).close()

    @staticmethod
    def _compare_bytes(texts: dict[str, bytes], back: Path) -> None:
        for name, text in texts.items():
            found = (back / name).read_bytes() if (back / name).is_file() else b""
            if found != text:
                raise CheckError(
                    f"{name} came back from HDFS with {len(found)} bytes other than the {len(text)} sent", "hdfs"
                )

    @staticmethod
    def _compare_counts(texts: dict[str, bytes], outputs: list[bytes]) -> str:
        ours = count_words(texts.values())
        try:
            difference = compare(ours, parse_counts(outputs))
        except NoAnswerError as reason:
            difference = str(reason)
        if difference:
            raise CheckError(f"MapReduce counted wrongly: {difference}", "yarn")
        return f"MapReduce counted {ours.total():,} words in {len(texts)} files; the independent count agrees"


def local_daemons(module: AnsibleModule) -> str:
    """Says of every Hadoop daemon of this node that is not active what it is and what it said last."""
    words = []
    for daemon in DAEMONS.values():
        code, state, _err = module.run_command(["systemctl", "is-active", daemon.unit])
        _code, enabled, _err = module.run_command(["systemctl", "is-enabled", daemon.unit])
        if code == 0 or enabled.strip() != "enabled":
            continue
        _code, journal, _err = module.run_command(
            ["journalctl", "-q", "--no-pager", "-o", "cat", "-n", "3", "-u", daemon.unit]
        )
        words.append(
            f"{daemon.unit} is {state.strip()}, its last words: {' | '.join(journal.strip().splitlines())[-500:]}"
        )
    return "; ".join(words)


def end(number: int, _frame: object) -> NoReturn:
    """Ends this check once, cleaning up, when Ansible's connection or somebody with `kill` wants it to end."""
    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(one, signal.SIG_IGN)
    raise EndedError(signal.Signals(number).name)


def answer_or_error(checker: Checker, text: Path) -> str:
    """Counts, with every trouble of this node's disk as a CheckError.

    Raises:
        CheckError: the cluster or this node does not do what it should.
    """
    try:
        return checker.count(texts_of(text))
    except OSError as error:
        raise CheckError(card_trouble(error), "hdfs") from error
    except EndedError as error:
        raise CheckError(f"the check was ended by {error}", "yarn") from error


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "master": {"type": "str", "required": True},
            "expected_workers": {"type": "list", "elements": "str", "required": True},
            "text": {"type": "path", "default": "/usr/share/common-licenses"},
            "user": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=False,
    )
    checker = Checker(module)
    if not checker.expected:
        module.fail_json(
            msg="expected_workers is empty: without a worker there is nothing to ask.", picluster_status=[]
        )
    started = time.monotonic()
    state = checker.wait()
    checker.seconds["wait"] = round(time.monotonic() - started, 1)
    rows = describe(state, checker.master, checker.expected)
    bad = [f"{row['node']} ({row['layer']}): {row['detail']}" for row in rows if row["state"] != "ok"]
    if bad:
        words = local_daemons(module)
        module.fail_json(
            msg=f"After {checker.timeout} s Hadoop is not complete. {'; '.join(bad)}.{f' {words}' if words else ''}",
            picluster_status=rows,
        )
    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(one, end)
    try:
        answer = answer_or_error(checker, Path(module.params["text"]))
    except CheckError as error:
        for row in rows:
            if row["node"] == checker.master and row["layer"] == error.layer:
                row.update(state="failed", detail=str(error))
        module.fail_json(msg=f"{error}.", picluster_status=rows)
    module.exit_json(changed=False, picluster_status=rows, picluster_answer=answer, seconds=checker.seconds)


if __name__ == "__main__":
    main()
