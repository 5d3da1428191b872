# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role updates, for the inventory check. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import check_lock_timeout
from ansible_collections.picluster.cloud.plugins.module_utils.updates.policy import parse_blacklist, parse_origins

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKS: dict[str, Callable[[Any], object]] = {
    "origins": parse_origins,
    "blacklist": parse_blacklist,
    "lock_timeout": check_lock_timeout,
}
