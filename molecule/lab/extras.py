"""What the lab adds to an inventory: settings that only containers as nodes need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXTRAS = "group_vars/all/lab.yml"
SEEN = "seen.json"  # what runs of site.yml saw of the nodes
HEADER = """\
# Written by the lab: what containers as nodes need and boards do not. What depends on cgroups and capabilities, the
# roles find out on the node.
"""


# Which nodes there are and what runs where; what else is in an inventory serves any lab.
_OF_THE_NODES = ("10-nodes.yml", "20-roles.yml", "group_vars/all/cluster.yml", "reservations.dnsmasq")
SETTINGS: dict[str, Any] = {
    # Assembled from Maven Central's artifacts where the release tarball cannot be had.
    "hadoop_source": "maven",
    # Without an artifact the layer is reported as skipped instead of failing the run.
    "k3s_optional": True,
    # A container sees the host's swap, which a kubelet refuses by default.
    "k3s_config": {"kubelet-arg": ["fail-swap-on=false"]},
}


def take_over(inventory: Path, nodes: Mapping[str, str]) -> bool:
    """Make an inventory the lab's: write its settings, and begin anew where an earlier lab had other nodes.

    Args:
        inventory: the cluster's inventory folder.
        nodes: the addresses wanted, by node.

    Returns:
        Whether an earlier lab's nodes and groups were removed.

    Raises:
        LabError: the inventory is that of a real cluster, or cannot be understood.
    """
    listed, settings = inventory / "10-nodes.yml", inventory / EXTRAS
    if listed.is_file() and not settings.is_file():
        raise LabError(f"{inventory} is no lab's inventory; choose another name for the lab, such as CLUSTER=lab.")
    settings.parent.mkdir(parents=True, exist_ok=True)
    # An earlier lab's nodes are gone, and an HDFS that was formatted on one of them with it.
    (inventory / SEEN).unlink(missing_ok=True)
    settings.write_text(HEADER + yaml.safe_dump(SETTINGS, sort_keys=False), "utf-8")
    if not listed.is_file() or _addresses(listed) == dict(nodes):
        return False
    for name in _OF_THE_NODES:
        (inventory / name).unlink(missing_ok=True)
    return True


def _addresses(listed: Path) -> dict[str, str]:
    try:
        hosts = yaml.safe_load(listed.read_text("utf-8"))["all"]["children"]["nodes"]["hosts"]
        return {name: host["node_address"] for name, host in hosts.items()}
    except (yaml.YAMLError, UnicodeDecodeError, LookupError, TypeError, AttributeError) as error:
        raise LabError(f"{listed} cannot be understood; mend it or remove it.") from error
