# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Action picluster.cloud.firewall: change the rules, and keep them only if a new login succeeds."""

from __future__ import annotations

from ansible_collections.picluster.cloud.plugins.plugin_utils.confirm.confirmed import ConfirmedAction


class ActionModule(ConfirmedAction):
    """Change the firewall, log in over a fresh connection, confirm."""
