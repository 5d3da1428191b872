# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role docker, for the inventory check. Pure."""

from __future__ import annotations

from functools import partial

from ansible_collections.picluster.cloud.plugins.module_utils.docker.rules import check_keys
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.forms import check_users

CHECKS = {"users": partial(check_users, "users")}
NAMES = {"daemon": check_keys}
BOUNDS = {"health_within": Bounds(0, 86400, "seconds")}
