# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role raspberry, for the inventory check. Pure."""

from __future__ import annotations

from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.rules import GPU_SMALLEST

BOUNDS = {
    "gpu_memory": Bounds(GPU_SMALLEST, 944, "MiB"),
    "journal_size": Bounds(8, 4096, "MiB"),
    "watchdog": Bounds(5, 3600, "seconds", off="none"),
    "restart_timeout": Bounds(10, 86400, "seconds"),
}
