"""Settings of a restart that cannot work."""

from __future__ import annotations

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.reboot.checks import CHECKS


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("batch", 0, "1 or more"),
        ("timeout", 9, "10 to 86400 seconds"),
        ("health_within", 86401, "10 to 86400 seconds"),
    ],
)
def test_a_number_out_of_range_is_refused(name: str, value: int, expected: str) -> None:
    with pytest.raises(UserError, match=f"{name} is out of range: {value}; expected {expected}"):
        CHECKS[name](value)
