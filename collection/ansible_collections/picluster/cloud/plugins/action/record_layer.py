# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Record on the controller whether the node has a layer, for layers without an action plugin of their own."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.converged import note_layer


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """The action behind picluster.cloud.record_layer."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Record what the arguments say; the tasks before it have converged the layer."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {"layer": {"type": "str", "required": True}, "present": {"type": "bool", "required": True}}
        )
        return note_layer(
            {**result, "changed": False},
            task_vars or {},
            arguments["layer"],
            present=arguments["present"],
            check_mode=self._task.check_mode,
        )
