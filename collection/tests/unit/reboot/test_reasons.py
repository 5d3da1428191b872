"""Which nodes need a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.reboot.reasons import (
    newer_kernel,
    parse_release,
    reboot_reasons,
)
from ansible_collections.picluster.cloud.plugins.modules.reboot_needed import converge

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("release", "flavour"),
    [
        ("6.12.34+rpt-rpi-v8", "-rpi-v8"),
        ("6.12.34+rpt-rpi-2712", "-rpi-2712"),
        ("6.12.43+deb13-amd64", "-amd64"),
        ("6.12.43+deb13-cloud-amd64", "-cloud-amd64"),
        ("6.1.0-38-amd64", "-amd64"),
        ("6.8.0-1010-raspi", "-raspi"),
        ("6.1.21-v8+", "-v8+"),
        ("6.1.21+", "+"),
        ("5.10.0-0.deb10.16-amd64", "-amd64"),
    ],
)
def test_a_kernels_flavour_is_told_from_its_version(release: str, flavour: str) -> None:
    assert parse_release(release)[1] == flavour


@pytest.mark.parametrize(
    ("running", "installed", "newer"),
    [
        ("6.12.34+rpt-rpi-v8", ["6.12.34+rpt-rpi-v8", "6.12.47+rpt-rpi-v8"], "6.12.47+rpt-rpi-v8"),
        ("6.1.0-9-amd64", ["6.1.0-38-amd64", "6.1.0-9-amd64"], "6.1.0-38-amd64"),
        ("6.1.21-v8+", ["6.6.20-v8+"], "6.6.20-v8+"),
        # A Pi's image has kernels for other boards beside the one that runs.
        ("6.12.34+rpt-rpi-v8", ["6.12.34+rpt-rpi-v8", "6.12.47+rpt-rpi-2712"], ""),
        ("6.1.21+", ["6.1.21+", "6.1.21-v7+", "6.6.1-v7l+"], ""),
        # The user's choice, or one that is not removed yet.
        ("6.12.47+rpt-rpi-v8", ["6.12.34+rpt-rpi-v8"], ""),
        ("6.18.44-fc-v669", [], ""),
        ("custom", ["custom"], ""),
    ],
)
def test_a_newer_kernel_of_the_running_ones_flavour_asks_for_a_restart(
    running: str, installed: list[str], newer: str
) -> None:
    assert newer_kernel(running, installed) == newer


def test_a_node_without_a_reason_is_left_alone(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    node.write("/lib/modules/6.1.0-9-amd64/modules.dep", "")
    # dpkg has not finished this one.
    node.path("/lib/modules/6.1.0-38-amd64").mkdir()
    assert reboot_reasons(node, "6.1.0-9-amd64") == []
    assert converge(FakeNode(tmp_path / "empty"), {}) == {"needed": False, "reasons": []}


def test_the_reasons_are_named(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    node.write("/run/reboot-required", "")
    assert reboot_reasons(node, "6.1.0-9-amd64") == ["/run/reboot-required"]
    node.write("/run/reboot-required.pkgs", "linux-image\nraspberry\nlinux-image\n")
    node.write("/lib/modules/6.1.0-38-amd64/modules.dep", "")
    assert reboot_reasons(node, "6.1.0-9-amd64") == [
        "/run/reboot-required by linux-image, raspberry",
        "kernel 6.1.0-38-amd64 is installed, but 6.1.0-9-amd64 is running",
    ]
