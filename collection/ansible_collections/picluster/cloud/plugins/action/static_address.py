# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's half of picluster.cloud.static_address: an address stays only if a new login at it succeeds."""

from __future__ import annotations

from typing import Any

from ansible_collections.picluster.cloud.plugins.module_utils._rollback import ARGUMENTS
from ansible_collections.picluster.cloud.plugins.plugin_utils._confirmed import ConfirmedAction


class ActionModule(ConfirmedAction):
    """The action behind picluster.cloud.static_address."""

    def lost_answer(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Return where to look for a node whose move cut the connection; None where it was to stay where it is."""
        address = str(arguments.get("address", ""))
        if not address or address in {self._play_context.remote_addr, self._connection.get_option("host")}:
            return None
        within = int(arguments.get("confirm_within") or ARGUMENTS["confirm_within"]["default"])
        return {"name": "address", "token": arguments["confirm_token"], "within": within, "host": address}
