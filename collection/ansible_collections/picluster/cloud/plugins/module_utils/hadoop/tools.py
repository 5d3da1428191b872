# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Hadoop's own commands: how a module runs one, and which of its words explain a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import CONF, LINK

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node, Outcome


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
