# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's half of picluster.cloud.static_address: an address stays only after a new login at it."""

from __future__ import annotations

from typing import Any

from ansible.utils.display import Display

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import ARGUMENTS
from ansible_collections.picluster.cloud.plugins.plugin_utils.confirm.confirmed import ConfirmedAction
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen


class ActionModule(ConfirmedAction):
    """The action behind picluster.cloud.static_address."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's answer; record beside the inventory the address at which the node was reached."""
        result = super().run(tmp, task_vars)
        if not result.get("failed"):
            address = str(self._task.args["address"])
            # The module's own answer may have been lost during the move.
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
            Display().warning(f"the node's address cannot be recorded: {seen.path}: {error.strerror}")

    def lost_answer(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Return where to find a node whose move cut the connection; None for one that was not to move."""
        address = str(arguments.get("address", ""))
        if not address or address in {self._play_context.remote_addr, self._connection.get_option("host")}:
            return None
        within = int(arguments.get("confirm_within") or ARGUMENTS["confirm_within"]["default"])
        return {"name": "address", "token": arguments["confirm_token"], "within": within, "host": address}
