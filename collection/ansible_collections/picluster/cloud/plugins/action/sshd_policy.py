# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Action picluster.cloud.sshd_policy: change sshd, and keep the change only if a new login succeeds."""

from __future__ import annotations

from ansible_collections.picluster.cloud.plugins.plugin_utils.confirm.confirmed import ConfirmedAction


class ActionModule(ConfirmedAction):
    """Change sshd, log in over a fresh connection, confirm."""
