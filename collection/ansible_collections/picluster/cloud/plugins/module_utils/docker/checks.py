# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role docker, for the inventory check. Pure."""

from __future__ import annotations

from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds

BOUNDS = {"health_within": Bounds(0, 86400, "seconds")}
