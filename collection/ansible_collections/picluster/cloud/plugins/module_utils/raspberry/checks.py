# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role raspberry, for the inventory check. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.rules import BOUNDS, check_bounds

if TYPE_CHECKING:
    from collections.abc import Callable


def _check(name: str) -> Callable[[int | None], None]:
    def check(value: int | None) -> None:
        # Null leaves the setting to the image.
        if value is not None:
            check_bounds(name, value)

    return check


CHECKS: dict[str, Callable[[Any], object]] = {name: _check(name) for name in BOUNDS}
