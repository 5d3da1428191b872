# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Put an artifact on the node; query the node first, so the file is transferred only where something differs."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

MODULE = "picluster.cloud.artifact"
# By this name the module finds what a killed run left behind.
INCOMING = "picluster-artifact"


class ActionModule(ActionBase):  # type: ignore[misc]  # no types in ansible-core
    """Query, transfer if needed, install."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer of the module on the node."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        artifact = arguments.get("artifact")
        if not isinstance(artifact, dict) or not isinstance(artifact.get("sha256"), str):
            raise AnsibleActionFail(
                f"artifact is invalid: '{artifact}'; pass on what picluster.cloud.artifacts returned for the node"
            )
        try:
            answer: dict[str, Any] = self._execute_module(
                module_name=MODULE, module_args=arguments, task_vars=task_vars
            )
            if answer.pop("transfer", False):
                # The second answer replaces the first: it reports what was really done.
                source = self._transfer(str(artifact.get("path", "")))
                answer = self._execute_module(
                    module_name=MODULE, module_args=arguments | {"incoming": source}, task_vars=task_vars
                )
            return answer
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)  # noqa: SLF001 - as ansible's own actions clean up

    def _transfer(self, path: str) -> str:
        if not os.path.isfile(path):  # noqa: PTH113 - pathlib would take an empty `path` for the working directory
            raise AnsibleActionFail(
                f"the artifact is no longer on the controller: '{path}'; run the whole site.yml again"
            )
        shell = self._connection._shell  # noqa: SLF001 - the interface of action plugins
        if shell.tmpdir is None:
            self._make_tmp_path()
        incoming: str = shell.join_path(shell.tmpdir, INCOMING)
        self._transfer_file(path, incoming)
        self._fixup_perms2((shell.tmpdir, incoming))
        return incoming
