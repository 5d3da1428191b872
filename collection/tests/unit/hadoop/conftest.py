# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A board on which the whole module hadoop_node runs, as often as a test likes."""

from __future__ import annotations

import grp
import os
import pwd
import re
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.apply import STAMP
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import DIRS_UNIT, UNITS
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.services import NOTE
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import DEFAULT_HEAPS, DEFAULT_MEMORY
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.modules.hadoop_node import OPTIONS, converge

if TYPE_CHECKING:
    from pathlib import Path

HOME = "/opt/hadoop-3.5.0"


def module_options(**given: Any) -> dict[str, Any]:
    """Return all options of hadoop_node: of a node that is the whole cluster, unless given otherwise."""
    options = {name: spec.get("default") for name, spec in OPTIONS.items()}
    options |= {"node": "red1", "master": "red1", "workers": ["red1"], "daemons": ["namenode", "datanode"]}
    options |= {"cluster_id": "CID-1", "http_secret": "the-http-secret", "home": HOME}
    return {**options, "memory": dict(DEFAULT_MEMORY), "heaps": dict(DEFAULT_HEAPS), **given}


class Board:
    """What stays on a board between runs: files, accounts, running units.

    Attributes:
        formats: How often its hdfs has formatted.
        format_result: How a format ends, if not well.
        node: The node of the last run.
        answer: The module's answer to the last run.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.units: dict[str, dict[str, str]] = {}
        self.accounts = {"root"}
        self.addresses = {"red1": "10.0.0.1", "red2": "10.0.0.2", "red3": "10.0.0.3"}
        self.last_pid = 1000
        self.formats = 0
        self.format_result: Outcome | None = None
        self.node = FakeNode(root)
        self.answer: dict[str, Any] = {}
        self.unpack(HOME)
        monkeypatch.setattr(socket, "gethostbyname", self._resolve)
        monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=self._known(name, os.getuid())))
        monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_gid=self._known(name, os.getgid())))

    def unpack(self, home: str) -> None:
        """Do what picluster.cloud.artifact does."""
        for name in ("bin/hdfs", STAMP):
            self.node.write(f"{home}/{name}", "")

    def run(self, *, check: bool = False, **given: Any) -> list[str]:
        """Run the module once; return what it changed."""
        answers = {
            "groupadd": self._add,
            "useradd": self._add,
            "runuser -u hdfs -- timeout 300 env --chdir=/ /opt/hadoop/bin/hdfs": self._format,
            "runuser -u hdfs -- timeout 60 env --chdir=/ /opt/hadoop/bin/hdfs": "",
        }
        self.node = FakeNode(self.root, answers, check_mode=check, units=self.units)
        self.answer = converge(self.node, module_options(**given))
        self.units = self.node.unit_states
        self._start_processes()
        return [entry["after_header"] for entry in self.node.diff]

    def _start_processes(self) -> None:
        for command in self.node.commands:
            started = re.fullmatch(r"systemctl (?:re)?start --no-block (\S+)", command)
            if started:
                name = started[1]
                unit = self.node.text(f"{UNITS}/{name}")
                inputs = unit.partition("Environment=PICLUSTER_INPUTS=")[2].partition("\n")[0]
                if name == DIRS_UNIT:
                    self.node.write(NOTE, inputs)
                else:
                    self.last_pid += 1
                    self.units[name]["MainPID"] = str(self.last_pid)
                    self.node.write(f"/proc/{self.last_pid}/environ", f"A=1\0PICLUSTER_INPUTS={inputs}\0")

    def _format(self, *command: str) -> Outcome:
        self.formats += 1
        if self.format_result is not None:
            return self.format_result
        place = next(word for word in command if "file://" in word).partition("file://")[2]
        self.node.write(f"{place}/current/VERSION", f"layoutVersion=-66\nclusterID={command[-1]}\n")
        return Outcome(0)

    def _add(self, *command: str) -> str:
        self.accounts.add(command[-1])
        return ""

    def _known(self, name: str, number: int) -> int:
        if name not in self.accounts:
            raise KeyError(name)
        return number

    def _resolve(self, name: str) -> str:
        if name not in self.addresses:
            raise socket.gaierror(name)
        return self.addresses[name]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(tmp_path, monkeypatch)
