# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role reboot, for the inventory check. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds. No board is back sooner, and a board that is not back by then does not come back.
_SHORTEST_WAIT, _LONGEST_WAIT = 10, 86400


def check_batch(batch: int) -> None:
    """Raise UserError if `batch` is not a number of nodes."""
    if batch < 1:
        raise UserError(f"batch is out of range: {batch}; expected 1 or more nodes that may restart at the same time")


def check_timeout(seconds: int, name: str = "timeout") -> None:
    """Raise UserError if `seconds` is not a sensible time to wait for a node."""
    if not _SHORTEST_WAIT <= seconds <= _LONGEST_WAIT:
        raise UserError(f"{name} is out of range: {seconds}; expected {_SHORTEST_WAIT} to {_LONGEST_WAIT} seconds")


CHECKS: dict[str, Callable[[Any], object]] = {
    "batch": check_batch,
    "timeout": check_timeout,
    "health_within": lambda seconds: check_timeout(seconds, "health_within"),
}
