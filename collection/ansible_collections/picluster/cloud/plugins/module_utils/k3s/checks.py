# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role k3s, for the inventory check. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import (
    check_config,
    check_limit_nofile,
    kubernetes_version,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CHECKS: dict[str, Callable[[Any], object]] = {"version": kubernetes_version, "limit_nofile": check_limit_nofile}
NAMES: dict[str, Callable[[Iterable[str]], object]] = {"config": check_config}
