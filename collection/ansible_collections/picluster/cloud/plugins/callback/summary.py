# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ANN401  # ansible-core carries no types
"""A table of all nodes and their layers at the end of every playbook run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: summary
type: aggregate
short_description: A table of all nodes and their layers at the end of a run
version_added: 0.1.0
description:
  - Shows for each node of the group C(nodes) in the run whether ssh reached it, the state of each reported layer, and
    the number of executed and of changed tasks; below the table, each failure of a node with the task and the reason,
    and the answers of the cluster.
  - Layers come from the key C(picluster_status) of a task's result, a list of dictionaries with C(node), C(layer),
    C(state) and C(detail); answers come from C(picluster_answer), one line of text.
  - Prints nothing for runs that reach no node of the group C(nodes).
options:
  file:
    description: A file to write the same to as JSON.
    type: path
    env:
      - name: PICLUSTER_SUMMARY
requirements:
  - enable in configuration
author: [The picluster authors (!UNKNOWN)]
"""

import contextlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.utils.color import stringc

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import write_atomically
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.layers import read_layers
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.summary import (
    NOTHING,
    Failure,
    NodeSummary,
    Style,
    Summary,
    reason,
    table,
)

# These run on the controller whatever the state of the node: they neither prove a connection nor load the node.
_NOT_ON_THE_NODE = frozenset(
    {
        *("add_host", "assert", "debug", "fail", "group_by", "import_role", "import_tasks", "include_role"),
        *("include_tasks", "include_vars", "meta", "pause", "record_layer", "set_fact", "set_stats"),
        "validate_argument_spec",
    }
)


def _is_report(task: Any) -> bool:
    return str(task.action).rpartition(".")[2] == "fail"


def _on_the_node(task: Any) -> bool:
    return task.action.rpartition(".")[2] not in _NOT_ON_THE_NODE and not task.delegate_to


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core carries no types
    """Collect the results of a run and print the table at its end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "picluster.cloud.summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._summary = Summary()
        self._order: list[str] = []
        self._is_playbook = False
        self._started: dict[str, float] = {}

    def v2_playbook_on_start(self, playbook: Any) -> None:  # noqa: ARG002  # Ansible's signature
        """Record that this is a playbook, not an ad-hoc command."""
        self._is_playbook = True
        # The inventory check reports an invalid declaration; here it only costs the order of the columns.
        with contextlib.suppress(UserError):
            self._summary.columns = [column for layer in read_layers() for column in layer.declared["columns"]]

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Record the nodes of the play."""
        variables = play.get_variable_manager().get_vars(play=play, include_hostvars=False)
        nodes = variables.get("groups", {}).get("nodes", [])
        here = set(variables.get("ansible_play_hosts_all", [])) & set(nodes)
        known = self._summary.nodes
        self._summary.nodes = {name: known.get(name, NodeSummary()) for name in nodes if name in known or name in here}

    def v2_runner_on_start(self, host: Any, task: Any) -> None:  # noqa: ARG002  # Ansible's signature
        """Record when a node's task started, as Ansible does not report how long it waited for the node."""
        self._started[host.get_name()] = time.monotonic()

    def _node(self, result: Any) -> NodeSummary | None:
        """Count a task's result for its node, and collect what it reports."""
        self._summary.collect(result.result)
        node = self._summary.nodes.get(result.host.get_name())
        if node is None or not _on_the_node(result.task):
            return node
        node.tasks += 1
        node.changed += bool(result.result.get("changed"))
        return node

    def v2_runner_on_ok(self, result: Any) -> None:
        """Record a task that succeeded."""
        node = self._node(result)
        if node and _on_the_node(result.task):
            node.ssh = "ok"

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: FBT001, FBT002  # Ansible's signature
        """Record a task that failed, and why."""
        node = self._node(result)
        # A failure of a task that runs once for all nodes does not belong to the node that ran it.
        if node is None or result.task.run_once:
            return
        if _on_the_node(result.task):
            node.ssh = "ok"
        # A task that only reports what failed before it has no reason of its own.
        if not ignore_errors and not (node.failures and _is_report(result.task)):
            node.failures.append(Failure(_name(result.task), reason(result.result)))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Record a node that ssh does not reach."""
        name = result.host.get_name()
        node = self._summary.nodes.get(name)
        if node is not None:
            waited = time.monotonic() - self._started[name]
            node.ssh = "unreachable"
            why = f"{reason(result.result)}; given up after {waited:.0f} s"
            node.failures.append(Failure(_name(result.task), why, "unreachable"))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the table, and write it as JSON if requested."""
        for name, node in self._summary.nodes.items():
            # Ansible's own count includes what was rescued or ignored later.
            node.dead = bool(stats.dark.get(name))
            node.failed = bool(stats.failures.get(name))
        if not self._is_playbook:
            return
        self._write_json()
        # A run that ended on the controller, before it reached any node, has its reason above.
        if any(node.ssh != NOTHING for node in self._summary.nodes.values()):
            encoding = sys.stdout.encoding or "ascii"
            style = Style(
                width=shutil.get_terminal_size((120, 24)).columns, unicode="utf" in encoding.lower(), paint=stringc
            )
            self._display.display("")
            for line in table(self._summary, style):
                self._display.display(line)
            self._display.display("")

    def _write_json(self) -> None:
        target = self.get_option("file")
        if not target:
            return
        path = Path(target)
        text = json.dumps(self._summary.as_json(), indent=2, ensure_ascii=False) + "\n"
        try:
            write_atomically(path, text)
        except OSError as error:
            self._display.warning(f"the summary cannot be written to {path}: {error.strerror}")


def _name(task: Any) -> str:
    """Return a task's name without its role, which the name of the task implies."""
    return str(task.name or task.action)
