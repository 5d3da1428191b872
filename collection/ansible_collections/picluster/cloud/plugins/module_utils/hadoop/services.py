# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The node's Hadoop: its commands, and its units, restarted where the process was started with other inputs."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import CONF, DATA, LINK
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import (
    DIRS_UNIT,
    INPUTS,
    READS_WORKERS,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import HadoopUnit
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node, Outcome

NOTE = "/run/hadoop-hdfs-dirs/done"  # written by hdfs_dirs.py when all folders are there
_REFRESH_SECONDS = 60
_PROPERTIES = ("Id", "ActiveState", "UnitFileState", "MainPID", "Job")


def run_tool(node: Node, user: str, timeout: int, tool: str, *arguments: str) -> Outcome:
    """Run one of Hadoop's commands as `user`, in check mode too.

    In /, as the user may have no access to the module's working directory.
    """
    command = ("env", "--chdir=/", f"{LINK}/bin/{tool}", "--config", CONF, *arguments)
    return node.run(*command, user=user, timeout=timeout)


def complaint(outcome: Outcome) -> str:
    """Return the words of a command that say why it failed: without its progress and without stack traces."""
    lines = f"{outcome.out}\n{outcome.err}".splitlines()
    said = [line.strip() for line in lines if line.strip() and " INFO " not in line and "\tat " not in line]
    return " | ".join(said[-4:])[-800:] or outcome.reason


class HadoopServices:
    """The units of a plan on this node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def converge(self, units: Sequence[HadoopUnit], workers: Collection[str]) -> None:
        """Enable the units, run them with their inputs, and have the masters read a changed list of workers."""
        names = [unit.name for unit in units]
        self._node.units.reload_daemon_if_needed(*names)
        states = self._node.units.show(*names, properties=_PROPERTIES)
        for unit in units:
            state = states.get(unit.name, {})
            self._node.units.enable(unit.name, state)
            verb = self.verb(unit, state)
            if verb:
                self._node.note(unit.name, state.get("ActiveState", ""), f"{verb}ed")
                self._begin(verb, unit.name)
            if unit.daemon in READS_WORKERS:
                self.publish_workers(unit, workers, fresh=bool(verb))

    def verb(self, unit: HadoopUnit, state: Mapping[str, str]) -> str:
        """Return start, restart or nothing, from the inputs that the running process was started with."""
        active = state.get("ActiveState")
        if active == "deactivating" and state.get("Job"):
            return ""  # in the middle of a restart, which takes the new unit
        if active not in {"active", "activating", "reloading"}:
            return "start"
        pid = int(state.get("MainPID") or 0)
        if pid:
            try:
                environ = self._node.path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                return ""  # it ended just now: systemd starts it again, with the new unit
            return "" if f"{INPUTS}={unit.inputs}".encode() in environ else "restart"
        if unit.name == DIRS_UNIT and active == "active":
            return "" if self._node.files.read(NOTE) == unit.inputs else "restart"
        return ""  # between two tries: the next one takes the new unit

    def publish_workers(self, unit: HadoopUnit, workers: Collection[str], *, fresh: bool) -> None:
        """Have a running master read a changed list of workers; one that is `fresh` was started just now and has.

        A file holds what it read last, so the next run repairs one that was killed.
        """
        note = f"{DATA}/.workers-{unit.daemon}"
        # With the addresses: the masters resolve the names once, when they read the list.
        known = "".join(f"{name} {_address(name)}\n" for name in sorted(workers))
        if self._node.files.read(note) == known:
            return
        if not fresh and not self._node.check_mode:
            tool, *arguments = READS_WORKERS[unit.daemon]
            outcome = run_tool(self._node, tool, _REFRESH_SECONDS, tool, *arguments)  # as the account of that name
            if not outcome.ok:  # it does not listen (yet): a start reads the list, too
                self._begin("restart", unit.name)
        self._node.files.put(note, known)

    def _begin(self, verb: str, name: str) -> None:
        # Without waiting: what the daemon needs may come up later, on another node.
        self._node.change("systemctl", verb, "--no-block", name)


def _address(name: str) -> str:
    """Return the address of a name on this node, empty if it has none."""
    try:
        return socket.gethostbyname(name)
    except OSError:
        return ""
