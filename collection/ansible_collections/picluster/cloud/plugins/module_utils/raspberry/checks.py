# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role raspberry, for the inventory check. Pure."""

from __future__ import annotations

from functools import partial

from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.rules import BOUNDS, check_bounds

CHECKS = {name: partial(check_bounds, name) for name in BOUNDS}
