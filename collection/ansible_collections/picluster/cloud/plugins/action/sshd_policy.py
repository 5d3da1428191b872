# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Action sshd_policy: change how to log in, and keep that only if a new login succeeds."""

from __future__ import annotations

from ansible_collections.picluster.cloud.plugins.plugin_utils.confirm.confirmed import ConfirmedAction


class ActionModule(ConfirmedAction):
    """Change, log in afresh, confirm."""
