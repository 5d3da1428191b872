# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role ssh, for the inventory check. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.guard import CONFIRM_WITHIN
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import parse_operators
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import (
    check_keywords,
    exempt_sources,
    merged_policy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CHECKS: dict[str, Callable[[Any], object]] = {
    "settings": merged_policy,
    "exempt": lambda networks: exempt_sources(None, networks),
    "operators": parse_operators,
}
NAMES: dict[str, Callable[[Iterable[str]], object]] = {"settings": check_keywords}
BOUNDS = {"confirm_within": CONFIRM_WITHIN}
