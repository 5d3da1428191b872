"""Bounds of numbers: what they allow, what they say, and where a module's options have them."""

from __future__ import annotations

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds, bounded, check_bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

WATCHDOG = Bounds(5, 3600, "seconds", off="none")


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (Bounds(64, 4096, "MiB"), "64 to 4096 MiB"),
        (Bounds(0, 65535), "0 to 65535"),
        (Bounds(1), "at least 1"),
        (Bounds(most=8, unit="cores"), "at most 8 cores"),
        (WATCHDOG, "5 to 3600 seconds, or 0 for none"),
    ],
)
def test_bounds_are_told_as_they_are(bounds: Bounds, text: str) -> None:
    assert bounds.text == text


@pytest.mark.parametrize(
    ("bounds", "value"),
    [(Bounds(64, 4096), 63), (Bounds(64, 4096), 4097), (Bounds(1), 0), (Bounds(most=8), 9), (WATCHDOG, 4)],
)
def test_a_number_out_of_bounds_is_named(bounds: Bounds, value: int) -> None:
    with pytest.raises(UserError) as caught:
        bounds.check("size", value)
    assert str(caught.value) == f"size is out of range: {value}; expected {bounds.text}"


@pytest.mark.parametrize(
    ("bounds", "value"),
    [(Bounds(64, 4096), 64), (Bounds(64, 4096), 4096), (Bounds(1), 1 << 60), (WATCHDOG, 0), (Bounds(1), None)],
)
def test_a_number_within_bounds_passes(bounds: Bounds, value: int | None) -> None:
    bounds.check("size", value)


def test_a_dot_leads_to_a_key_and_what_is_not_set_has_no_bounds() -> None:
    bounds = {"cores": Bounds(1), "heaps.datanode": Bounds(64), "heaps.namenode": Bounds(64), "sizes.x": Bounds(1)}
    options = {"heaps": {"datanode": 5}, "sizes": None, "other": 0}
    assert list(bounded(bounds, options)) == [("heaps.datanode", Bounds(64), 5)]
    with pytest.raises(UserError, match=r"heaps\.datanode is out of range: 5; expected at least 64"):
        check_bounds(bounds, options)
