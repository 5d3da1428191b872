# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role updates, for the inventory check. Pure."""

from __future__ import annotations

from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import LOCK_BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.updates.policy import parse_blacklist, parse_origins

CHECKS = {"origins": parse_origins, "blacklist": parse_blacklist}
BOUNDS = {"lock_timeout": LOCK_BOUNDS}
