# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's half of picluster.cloud.firewall: new rules stay only if a new login gets through them."""

from __future__ import annotations

from ansible_collections.picluster.cloud.plugins.plugin_utils.confirm.confirmed import ConfirmedAction


class ActionModule(ConfirmedAction):
    """The action behind picluster.cloud.firewall."""
