# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role hadoop, for the inventory check. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import (
    DEFAULT_MEMORY,
    check_memory,
    check_sites,
    read_properties,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CHECKS: dict[str, Callable[[Any], object]] = {
    "memory": lambda sizes: check_memory({**DEFAULT_MEMORY, **sizes}),
    "properties": read_properties,
}
NAMES: dict[str, Callable[[Iterable[str]], object]] = {"properties": check_sites}
