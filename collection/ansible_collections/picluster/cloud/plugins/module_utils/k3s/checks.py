# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role k3s, for the inventory check. Pure."""

from __future__ import annotations

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import (
    check_config,
    check_limit_nofile,
    kubernetes_version,
)

CHECKS = {"version": kubernetes_version, "limit_nofile": check_limit_nofile}
NAMES = {"config": check_config}
