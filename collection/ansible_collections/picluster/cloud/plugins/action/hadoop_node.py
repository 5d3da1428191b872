# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's half of picluster.cloud.hadoop_node: record the nodes on which HDFS was formatted.

The record tells a NameNode whose card was written anew from the NameNode of a new cluster. Whether the node
has Hadoop is recorded, too.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.converged import note_layer
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.variables import name_variables

MODULE = "picluster.cloud.hadoop_node"
KEY = "hdfs"  # of a node in seen.json: the cluster id of its image


class ActionModule(ActionBase):  # type: ignore[misc]  # no types in ansible-core
    """The action behind picluster.cloud.hadoop_node."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's answer; record beside the inventory that the node has an image."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        folder = variables.get("inventory_dir")
        arguments = dict(self._task.args)
        seen = Seen(folder) if folder and "namenode" in (arguments.get("daemons") or []) else None
        if seen:
            cluster = arguments.get("cluster_id")
            arguments["formatted_on"] = sorted(
                name for name, node in seen.nodes().items() if node.get(KEY) and node[KEY] == cluster
            )
        try:
            answer: dict[str, Any] = self._execute_module(
                module_name=MODULE, module_args=arguments, task_vars=task_vars
            )
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)  # noqa: SLF001 - as ansible's own actions clean up
        # A run that failed after the format counts, too.
        if seen and answer.get("hdfs") and not self._task.check_mode:
            _record(seen, str(variables["inventory_hostname"]), answer["hdfs"])
        present = bool(arguments.get("daemons"))
        answer = name_variables(answer, "hadoop", arguments)
        return note_layer(answer, variables, "hadoop", present=present, check_mode=self._task.check_mode)


def _record(seen: Seen, name: str, cluster: str) -> None:
    # In an ordinary run the record is complete, and nothing is locked or written.
    if seen.nodes().get(name, {}).get(KEY) != cluster:
        try:
            with seen.edit() as nodes:
                nodes.setdefault(name, {})[KEY] = cluster
        except OSError as error:
            Display().warning(
                f"{seen.path} cannot be written: {error.strerror}; without the record of {name} a later run may format "
                "an HDFS whose image is lost"
            )
