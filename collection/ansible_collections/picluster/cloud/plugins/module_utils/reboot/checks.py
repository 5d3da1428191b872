# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role reboot, for the inventory check. Pure."""

from __future__ import annotations

from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds

# No board is back sooner, and a board that is not back by then does not come back.
_BACK = Bounds(10, 86400, "seconds")
BOUNDS = {"batch": Bounds(1), "timeout": _BACK, "health_within": _BACK}
