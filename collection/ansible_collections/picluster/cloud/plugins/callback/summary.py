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
  - For each node of the group C(nodes) that the run was about, tells whether ssh reached it, the state of every
    layer that was reported,
    how many tasks were executed on it and how many changed something; below, each failed or unreachable node with
    the task and the
    reason, and the answers that the cluster gave.
  - Layers come from the key C(picluster_status) of a task's result, a list of dictionaries with C(node),
    C(layer), C(state) and C(detail); answers from
    C(picluster_answer), one line of text.
  - Silent for runs that are not about the group C(nodes).
options:
  file:
    description: A file that gets the same as JSON.
    type: path
    env:
      - name: PICLUSTER_SUMMARY
requirements:
  - enable in configuration
author: [The picluster authors]
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.utils.color import stringc

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.summary import (
    NodeSummary,
    Style,
    Summary,
    reason,
    table,
)

# These run on the controller whatever the node is like: they neither prove a connection nor cost the node anything.
_NOT_ON_THE_NODE = frozenset(
    {
        *("add_host", "assert", "debug", "fail", "group_by", "import_role", "import_tasks", "include_role"),
        *("include_tasks", "include_vars", "meta", "pause", "set_fact", "set_stats", "validate_argument_spec"),
    }
)


def _on_the_node(task: Any) -> bool:
    return task.action.rpartition(".")[2] not in _NOT_ON_THE_NODE and not task.delegate_to


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core carries no types
    """Listens to a run and tells at its end how the nodes fared."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "picluster.cloud.summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._summary = Summary()
        self._order: list[str] = []
        self._is_playbook = False

    def v2_playbook_on_start(self, playbook: Any) -> None:  # noqa: ARG002  # Ansible's signature
        """Note that this is a playbook and no ad-hoc command."""
        self._is_playbook = True

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Note which nodes the play is about."""
        variables = play.get_variable_manager().get_vars(play=play, include_hostvars=False)
        nodes = variables.get("groups", {}).get("nodes", [])
        here = set(variables.get("ansible_play_hosts_all", [])) & set(nodes)
        known = self._summary.nodes
        self._summary.nodes = {name: known.get(name, NodeSummary()) for name in nodes if name in known or name in here}

    def _node(self, result: Any) -> NodeSummary | None:
        """Count a task's result for its node, and take from it what it reports."""
        self._summary.collect(result.result)
        node = self._summary.nodes.get(result.host.get_name())
        if node is None or not _on_the_node(result.task):
            return node
        node.tasks += 1
        node.changed += bool(result.result.get("changed"))
        return node

    def v2_runner_on_ok(self, result: Any) -> None:
        """Note a task that worked."""
        node = self._node(result)
        if node and _on_the_node(result.task):
            node.ssh = "ok"

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: FBT001, FBT002  # Ansible's signature
        """Note a task that failed, and why."""
        node = self._node(result)
        if node is None:
            return
        if _on_the_node(result.task):
            node.ssh = "ok"
        if not ignore_errors:
            node.task_failed, node.reason = _name(result.task), reason(result.result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Note a node that ssh does not reach."""
        node = self._summary.nodes.get(result.host.get_name())
        if node is not None:
            node.ssh = "unreachable"
            node.task_failed, node.reason = _name(result.task), reason(result.result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the table, and write it as JSON where it is asked for."""
        for name, node in self._summary.nodes.items():
            # Ansible's own count knows what was rescued or ignored later.
            node.dead = bool(stats.dark.get(name))
            node.failed = bool(stats.failures.get(name))
        if not self._is_playbook:
            return
        self._write_json()
        if self._summary.nodes:
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
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as stream:
                stream.write(text)
            Path(stream.name).chmod(0o644)
            os.replace(stream.name, path)  # noqa: PTH105  # a rename that may replace, on every system
        except OSError as error:
            self._display.warning(f"cannot write the summary to {path}: {error.strerror}")


def _name(task: Any) -> str:
    """Return a task's name without the role it belongs to, which the name of the task already tells."""
    return str(task.name or task.action)
