# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Record whether the node has Docker."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.converged import note_layer


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """The action behind picluster.cloud.docker_engine."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's answer."""
        super().run(tmp, task_vars)
        answer = self._execute_module(task_vars=task_vars)
        present = self._task.args.get("state", "present") == "present"
        return note_layer(answer, task_vars or {}, "docker", present=present, check_mode=self._task.check_mode)
