# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Values of the inventory that are not final yet."""

from __future__ import annotations

_PLAIN = (str, int, float, list, dict, type(None))


def is_templated(value: object) -> bool:
    """Return whether a value is known only later: a template, or a text encrypted by ansible-vault."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    return not isinstance(value, _PLAIN)
