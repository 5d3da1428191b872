# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Pass on whether the node is recorded to hold the cluster's data, and record whether it does."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.picluster.cloud.plugins.plugin_utils.k3s.record import holders, note_holder
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

MODULE = "picluster.cloud.k3s_node"


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
        try:
            answer = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
            return note_holder(answer, variables, check_mode=self._task.check_mode)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)  # noqa: SLF001 - as ansible's own actions clean up
