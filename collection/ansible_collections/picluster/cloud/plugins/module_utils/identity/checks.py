# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the role identity, for the inventory check. Pure."""

from __future__ import annotations

import zoneinfo
from functools import cache
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.identity.rules import (
    check_locale,
    check_servers,
    check_timezone,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# Reads thousands of files.
_zones = cache(zoneinfo.available_timezones)
CHECKS: dict[str, Callable[[Any], object]] = {
    # A controller without the tz database leaves it to the nodes.
    "timezone": lambda zone: check_timezone(zone, _zones()),
    "locale": check_locale,
    "ntp_servers": check_servers,
}
