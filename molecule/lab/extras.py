"""What the lab adds to an inventory: settings that only containers as nodes need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lab.engine import host_capabilities

HEADER = """\
# Written by the lab: what containers as nodes need and boards do not.
"""


def extras(arch: str, *, cgroup_v1: bool, may_raise_oom: bool) -> dict[str, Any]:
    """Variables for all nodes of a lab.

    Args:
        arch: Debian's name of the host's architecture: containers run no other.
        cgroup_v1: whether the host has cgroup v1; a kubelet from 1.35 on refuses it unless told otherwise.
        may_raise_oom: whether a container may lower its processes' oom_score_adj (CAP_SYS_RESOURCE).
    """
    kubelet = ["fail-swap-on=false"]
    if cgroup_v1:
        kubelet.append("fail-cgroupv1=false")
    return {
        "node_arch": arch,
        # Assembled from Maven Central's artifacts where the release tarball cannot be had.
        "hadoop_source": "maven",
        # Without an artifact the layer is reported as skipped instead of failing the run.
        "k3s_optional": True,
        "k3s_config": {"kubelet-arg": kubelet},
        "k3s_restrict_oom_score_adj": not may_raise_oom,
    }


def write_extras(inventory: Path, arch: str) -> None:
    """Write the lab's variables into an inventory, unless they are there already."""
    content = extras(
        arch,
        cgroup_v1=not Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        may_raise_oom="SYS_RESOURCE" in host_capabilities(),
    )
    target = inventory / "group_vars" / "all" / "lab.yml"
    text = HEADER + yaml.safe_dump(content, sort_keys=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.read_text("utf-8") != text:
        target.write_text(text, "utf-8")
