"""What the lab adds to an inventory: settings that only containers as nodes need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

HEADER = """\
# Written by the lab: what containers as nodes need and boards do not. What depends on cgroups and capabilities, the
# roles find out on the node.
"""


def extras(arch: str) -> dict[str, Any]:
    """Variables for all nodes of a lab.

    Args:
        arch: Debian's name of the host's architecture: containers run no other.
    """
    return {
        "node_arch": arch,
        # Assembled from Maven Central's artifacts where the release tarball cannot be had.
        "hadoop_source": "maven",
        # Without an artifact the layer is reported as skipped instead of failing the run.
        "k3s_optional": True,
        # A container sees the host's swap, which a kubelet refuses by default.
        "k3s_config": {"kubelet-arg": ["fail-swap-on=false"]},
    }


def write_extras(inventory: Path, arch: str) -> None:
    """Write the lab's variables into an inventory, unless they are there already."""
    target = inventory / "group_vars" / "all" / "lab.yml"
    text = HEADER + yaml.safe_dump(extras(arch), sort_keys=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.read_text("utf-8") != text:
        target.write_text(text, "utf-8")
