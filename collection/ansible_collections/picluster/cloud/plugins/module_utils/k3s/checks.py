# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role k3s, for the inventory check. Pure."""

from __future__ import annotations

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import check_config, kubernetes_version
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds

CHECKS = {"version": kubernetes_version}
NAMES = {"config": check_config}
BOUNDS = {
    # Below, k3s does not start; above, no kernel goes (fs/file.c, sysctl_nr_open_max).
    "limit_nofile": Bounds(1024, 0x7FFFFFC0, "files"),
    "verify_timeout": Bounds(0, 86400, "seconds"),
    "health_within": Bounds(0, 86400, "seconds"),
    # To kubectl drain, 0 means forever.
    "drain_timeout": Bounds(1, 86400, "seconds"),
}
