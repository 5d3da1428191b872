# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Record which node holds the cluster's data, which a first run has only by the time of its verification."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.picluster.cloud.plugins.plugin_utils.k3s.record import note_holder

MODULE = "picluster.cloud.k3s_check"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """The action behind picluster.cloud.k3s_check."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's answer."""
        super().run(tmp, task_vars)
        try:
            answer = self._execute_module(module_name=MODULE, module_args=self._task.args, task_vars=task_vars)
            return note_holder(answer, task_vars or {}, check_mode=self._task.check_mode)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)  # noqa: SLF001 - as ansible's own actions clean up
