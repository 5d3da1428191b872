# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Use HDFS and YARN as a user would: write a text, count its words, read text and counts back, compare."""

from __future__ import annotations

import fcntl
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
from typing import TYPE_CHECKING, Any, NoReturn

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import render_xml
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import DAEMONS
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.probe import (
    ANSWER_SECONDS,
    HadoopState,
    NoAnswerError,
    describe,
    fetch,
    find_gone,
    query_cluster,
)
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.services import complaint, run_tool
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.wordcount import (
    job_properties,
    read_texts,
    verify_counts,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import CARD_ERRORS, describe_write_error
from ansible_collections.picluster.cloud.plugins.module_utils.node.http import opener

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

POLL_SECONDS = 1.0
PREFIX = "picluster-check-"
# A job is named like its folders in HDFS: time and process of its check.
ANY_JOB = re.compile(rf"{PREFIX.rstrip('-')}(-\d+-\d+)?")
UNFINISHED = "NEW,NEW_SAVING,SUBMITTED,ACCEPTED,RUNNING"
FINAL = frozenset({"FINISHED", "FAILED", "KILLED"})
# A later check removes what a killed one left behind.
_ABANDONED_SECONDS = 3600
_MOST_MAPS = 4
_KILL_SECONDS = 60
_LOCK = "/run/picluster-hadoop-check.lock"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class EndedError(BaseException):
    """A signal ends this check. No handler of errors stops it, so the check cleans up on the way."""


class HadoopCheck:
    """One check of one cluster; `layer` (hdfs or yarn) is the one in use, `seconds` says how long each step took."""

    def __init__(self, node: Node, options: dict[str, Any]) -> None:
        self._node = node
        self._master: str = options["master"]
        self._user: str = options["user"]
        self._expected: list[str] = options["expected_workers"]
        self._timeout: float = options["timeout"]
        self._job_may_run = False
        self.layer = "hdfs"
        self.seconds: dict[str, float] = {}

    def run(self, text: Path) -> dict[str, Any]:
        """Wait for the cluster, use it, and return the module's answer."""
        started = time.monotonic()
        state = self._wait()
        self.seconds["wait"] = round(time.monotonic() - started, 1)
        rows = describe(state, self._master, self._expected)
        bad = [f"{row['node']} ({row['layer']}): {row['detail']}" for row in rows if row["state"] != "ok"]
        if bad:
            found = "; ".join([*bad, *stopped_daemons(self._node)])
            message = f"Hadoop is not complete after {self._timeout} s: {found}"
            return {"failed": True, "msg": message, "picluster_status": rows}
        for number in _SIGNALS:
            signal.signal(number, _end)
        try:
            answer = self._use(text)
        except UserError as error:
            for row in rows:
                if row["node"] == self._master and row["layer"] == self.layer:
                    row.update(state="failed", detail=str(error))
            return {"failed": True, "msg": str(error), "picluster_status": rows}
        return {"picluster_status": rows, "picluster_answer": answer, "seconds": self.seconds}

    def _wait(self) -> HadoopState:
        """Poll until the cluster is ready or the time is over; return its last state."""
        deadline = time.monotonic() + self._timeout
        while True:
            state = query_cluster(self._master, self._user)
            if state.ready(self._expected):
                find_gone(state, self._expected)
            if state.ready(self._expected) or time.monotonic() > deadline:
                return state
            time.sleep(POLL_SECONDS)

    def _use(self, text: Path) -> str:
        try:
            return self.count(read_texts(text))
        except OSError as error:
            if error.errno not in CARD_ERRORS:
                raise
            raise UserError(describe_write_error(error)) from error
        except EndedError as error:
            raise UserError(f"the check was ended by {error}; run it again") from error

    def count(self, texts: dict[str, bytes]) -> str:
        """Write the texts to HDFS, count their words in YARN, read both back, compare; return the answer.

        Raises:
            UserError: a step of `layer` fails or has the wrong result.
        """
        try:
            account = pwd.getpwnam(self._user)
        except KeyError as error:
            raise UserError(f"user does not exist on this node: {self._user}; set user to an account") from error
        # The lock shows other checks on this node that one is in progress; it ends with the process.
        with self._node.path(_LOCK).open("w", encoding="utf-8") as lock:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.kill(ANY_JOB)  # no other check is in progress, so these jobs are abandoned
            fcntl.flock(lock, fcntl.LOCK_SH)
            return self._count(texts, account)

    def _count(self, texts: dict[str, bytes], account: pwd.struct_passwd) -> str:
        own = f"{PREFIX}{int(time.time())}-{os.getpid()}"
        home = f"/user/{self._user}"
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=self._node.path("/var/tmp")) as scratch:  # noqa: S108
            root = Path(scratch)
            source = root / f"{own}-in"
            back = root / "back"
            for folder in (source, back):
                folder.mkdir()
            for name, text in texts.items():
                (source / name).write_bytes(text)
            size = sum(len(text) for text in texts.values())
            tasks = min(_MOST_MAPS, max(2, len(self._expected)))
            job = root / "job.xml"
            job.write_text(render_xml(job_properties(own, f"{home}/{own}-in", f"{home}/{own}-out", size, tasks)))
            for path in (root, *root.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid)
            try:
                self._run("write", "hdfs", "dfs", "-put", str(source), home)
                self.layer = "yarn"
                self._run_job(str(job))
                self.layer = "hdfs"
                self._run("read", "hdfs", "dfs", "-get", f"{home}/{own}-in", f"{home}/{own}-out", str(back))
            finally:
                if self._job_may_run:
                    self.kill(re.compile(re.escape(own)))
                self.clean(home, own)
            for name, text in texts.items():
                place = back / source.name / name
                found = place.read_bytes() if place.is_file() else b""
                if found != text:
                    sizes = f"{len(found)} bytes, sent {len(text)} bytes"
                    raise UserError(f"{name} differs when read back from HDFS: {sizes}")
            self.layer = "yarn"
            return verify_counts(texts, [path.read_bytes() for path in sorted((back / f"{own}-out").glob("part-*"))])

    def _run(self, step: str, tool: str, *arguments: str) -> str:
        """Run one of Hadoop's commands as the user; return its output."""
        seconds = _KILL_SECONDS if step == "kill" else int(self._timeout)
        started = time.monotonic()
        outcome = run_tool(self._node, self._user, seconds, tool, *arguments)
        self.seconds[step] = round(time.monotonic() - started, 1)
        if not outcome.ok:
            command = f"{tool} {' '.join(arguments[:2])}"
            raise UserError(f"{command} failed (exit code {outcome.code}): {complaint(outcome)}")
        return f"{outcome.out}\n{outcome.err}"

    def _run_job(self, job: str) -> None:
        self._job_may_run = True  # also where the submission does not return
        output = self._run("submit", "mapred", "job", "-submit", job)
        found = re.search(r"\bjob_(\d+_\d+)\b", output)
        if not found:
            raise UserError(f"mapred job -submit printed no job id: {output.strip()[-300:]}")
        url = f"http://{self._master}:8088/ws/v1/cluster/apps/application_{found[1]}"
        started = time.monotonic()
        app: dict[str, Any] = {}
        while time.monotonic() - started < self._timeout:
            with suppress(NoAnswerError):  # queried again until the time is over
                app = fetch(url).get("app") or {}
            if app.get("state") in FINAL:
                self._job_may_run = False
                break
            time.sleep(POLL_SECONDS)
        self.seconds["job"] = round(time.monotonic() - started, 1)
        if app.get("finalStatus") != "SUCCEEDED":
            diagnostics = " ".join(str(app.get("diagnostics") or "no diagnostics").split())[:500]
            state = app.get("state", "unknown")
            raise UserError(f"job_{found[1]} is {state} after {self.seconds['job']:.0f} s: {diagnostics}")

    def kill(self, name: re.Pattern[str]) -> None:
        """Kill the user's jobs of this name: one JVM for all of them, none if there is no such job.

        A later check kills what cannot be killed now.
        """
        query = urllib.parse.urlencode({"user": self._user, "states": UNFINISHED})
        with suppress(UserError):
            apps = (fetch(f"http://{self._master}:8088/ws/v1/cluster/apps?{query}").get("apps") or {}).get("app") or []
            mine = [app for app in apps if app.get("user") == self._user and name.fullmatch(str(app.get("name")))]
            jobs = [str(app["id"]) for app in mine if app.get("id")]
            if jobs:
                self._run("kill", "yarn", "application", "-kill", *jobs)

    def clean(self, home: str, own: str) -> None:
        """Remove what was written, over WebHDFS; a later check removes what cannot be removed now."""
        base = f"http://{self._master}:9870/webhdfs/v1{urllib.parse.quote(home)}"
        query = f"user.name={urllib.parse.quote(self._user)}"
        with suppress(NoAnswerError, OSError):
            statuses = fetch(f"{base}?op=LISTSTATUS&{query}").get("FileStatuses") or {}
            for name in abandoned(statuses.get("FileStatus") or [], own, time.time()):
                url = f"{base}/{urllib.parse.quote(name)}?op=DELETE&recursive=true&{query}"
                request = urllib.request.Request(url, method="DELETE")  # noqa: S310 - always http, to our NameNode
                opener().open(request, timeout=ANSWER_SECONDS).close()


def abandoned(entries: list[dict[str, Any]], own: str, now: float) -> list[str]:
    """Return the names that this check, or one killed long ago, has written."""
    found = []
    for entry in entries:
        name, age = str(entry.get("pathSuffix")), now - float(entry.get("modificationTime", now * 1000)) / 1000
        if name.startswith(own) or (name.startswith(PREFIX) and age > _ABANDONED_SECONDS):
            found.append(name)
    return found


def stopped_daemons(node: Node) -> list[str]:
    """Return the state and the last log lines of each Hadoop daemon of this node that is enabled but not active."""
    units = node.units.show(*(daemon.unit for daemon in DAEMONS.values()))
    found = []
    for name, unit in units.items():
        if unit.get("UnitFileState") == "enabled" and unit.get("ActiveState") != "active":
            journal = node.run("journalctl", "-q", "--no-pager", "-o", "cat", "-n", "3", "-u", name).out
            lines = " | ".join(journal.strip().splitlines())[-500:]
            found.append(f"{name} is {unit.get('ActiveState')}, its last log lines: {lines}")
    return found


def _end(number: int, _frame: object) -> NoReturn:
    """End this check once, with cleaning up, on a signal of Ansible's connection or of an operator."""
    for one in _SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    raise EndedError(signal.Signals(number).name)
