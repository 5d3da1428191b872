# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Pass on whether the node is recorded to hold the cluster's data, and record whether it does.

Records also whether the node has k3s.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.picluster.cloud.plugins.plugin_utils.k3s.record import holders, note_holder
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.converged import note_layer
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.variables import name_variables


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """The action behind picluster.cloud.k3s_node."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's answer."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        folder = str(variables.get("inventory_dir") or "")
        recorded = folder != "" and variables["inventory_hostname"] in holders(Seen(folder).nodes())
        arguments = {"recorded_server": recorded, **self._task.args}
        answer = self._execute_module(module_args=arguments, task_vars=task_vars)
        answer = note_holder(name_variables(answer, "k3s", arguments), variables, check_mode=self._task.check_mode)
        if "server_data" not in answer:  # failed, or skipped without an artifact
            return answer
        present = arguments.get("role") != "none"
        return note_layer(answer, variables, "k3s", present=present, check_mode=self._task.check_mode)
