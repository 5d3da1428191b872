# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's half of picluster.cloud.static_address: an address stays only if a new login at it succeeds."""

from __future__ import annotations

from typing import Any

from ansible.utils.display import Display

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import ARGUMENTS
from ansible_collections.picluster.cloud.plugins.plugin_utils.confirm.confirmed import ConfirmedAction
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen


class ActionModule(ConfirmedAction):
    """The action behind picluster.cloud.static_address."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module says; keep beside the inventory where the node has proven to be."""
        result = super().run(tmp, task_vars)
        if not result.get("failed"):
            address = str(self._task.args["address"])
            # The module's own answer may have been lost on the way to the new address.
            result = {"address": address, "moved": True, **result}
            if not self._task.check_mode:
                self._remember(address, task_vars or {})
        return result

    def _remember(self, address: str, variables: dict[str, Any]) -> None:
        if not variables.get("inventory_dir"):
            return
        seen = Seen(variables["inventory_dir"])
        try:
            seen.settle(str(variables["inventory_hostname"]), address)
        except OSError as error:
            Display().warning(f"where the node is cannot be kept in {seen.path}: {error.strerror}")

    def lost_answer(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Return where to look for a node whose move cut the connection; None where it was to stay where it is."""
        address = str(arguments.get("address", ""))
        if not address or address in {self._play_context.remote_addr, self._connection.get_option("host")}:
            return None
        within = int(arguments.get("confirm_within") or ARGUMENTS["confirm_within"]["default"])
        return {"name": "address", "token": arguments["confirm_token"], "within": within, "host": address}
