# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role k3s, for the inventory check. Pure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import (
    check_config,
    check_registries,
    kubernetes_version,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.forms import check_checksums, check_url

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

CHECKS: dict[str, Callable[[Any], object]] = {
    "version": kubernetes_version,
    # The address of the checksums is made of it.
    "base_url": partial(check_url, "base_url"),
    "checksums": lambda checksums: check_checksums(checksums.values()),
}
NAMES: dict[str, Callable[[Collection[str]], object]] = {"config": check_config, "registries": check_registries}
BOUNDS = {
    # Below, k3s does not start; above, no kernel goes (fs/file.c, sysctl_nr_open_max).
    "limit_nofile": Bounds(1024, 0x7FFFFFC0, "files"),
    "verify_timeout": Bounds(0, 86400, "seconds"),
    "health_within": Bounds(0, 86400, "seconds"),
    # To kubectl drain, 0 means forever.
    "drain_timeout": Bounds(1, 86400, "seconds"),
}
