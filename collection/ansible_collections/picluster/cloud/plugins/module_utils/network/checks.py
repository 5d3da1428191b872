# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role network, for the inventory check. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import parse_parking
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.guard import CONFIRM_WITHIN

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKS: dict[str, Callable[[Any], object]] = {
    # Empty for any free address.
    "parking": lambda addresses: addresses and parse_parking(addresses),
}
BOUNDS = {"wait_for_address": Bounds(0, 3600, "seconds"), "confirm_within": CONFIRM_WITHIN}
