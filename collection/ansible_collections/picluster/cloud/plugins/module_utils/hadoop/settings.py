# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a Hadoop node: read from the module's options and checked. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SITES = ("core-site", "hdfs-site", "yarn-site", "mapred-site", "capacity-scheduler")
# MB. They fit a board of 4 GB that also runs k3s (memory plan: docs of the role).
DEFAULT_MEMORY = {"nodemanager": 2048, "minimum": 256, "am": 512, "map": 512, "reduce": 768, "sort": 100}
DEFAULT_HEAPS = {
    "namenode": 512,
    "secondarynamenode": 512,
    "datanode": 256,
    "resourcemanager": 384,
    "nodemanager": 256,
    "historyserver": 192,
}


@dataclass(frozen=True)
class Memory:
    """Sizes in MB.

    Attributes:
        nodemanager: What YARN may allocate on this node.
        minimum: The smallest container, and the step.
        am: A MapReduce application master.
        map: A map task.
        reduce: A reduce task.
        sort: A map task's sort buffer.
    """

    nodemanager: int
    minimum: int
    am: int
    map: int
    reduce: int
    sort: int


@dataclass(frozen=True)
class HadoopSettings:
    """The settings of one node, named as the options of the module hadoop_node."""

    node: str
    master: str
    workers: tuple[str, ...]
    daemons: tuple[str, ...]
    home: str
    release: str
    java_home: str
    replication: int
    block_size: int
    disk_reserved: int
    vcores: int
    memory: Memory
    heaps: dict[str, int]
    users: tuple[str, ...]
    properties: dict[str, dict[str, str]] = field(default_factory=dict)


def text_of(value: object) -> str:
    """Return a property's value as Hadoop writes it: YAML's true is Hadoop's true, not Python's True."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_properties(sites: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the properties of each file as texts.

    Raises:
        UserError: a file has no mapping.
    """
    properties = {}
    for site, values in sites.items():
        if not isinstance(values, dict):
            # Without the value: it may hold a secret.
            raise UserError(f"properties.{site} is not a mapping; set it to a mapping of names to values")
        properties[site] = {str(name): text_of(value) for name, value in values.items()}
    return properties


def read_settings(options: dict[str, Any]) -> HadoopSettings:
    """Return the settings in the module's options.

    Raises:
        UserError: a value has the wrong type.
    """
    return HadoopSettings(
        node=options["node"],
        master=options["master"],
        workers=tuple(options["workers"]),
        daemons=tuple(options["daemons"]),
        home=options["home"],
        release=options["release"],
        java_home=options["java_home"],
        replication=options["replication"],
        block_size=options["block_size"],
        disk_reserved=options["disk_reserved"],
        vcores=options["vcores"],
        memory=Memory(**options["memory"]),
        heaps=options["heaps"],
        users=tuple(options["users"]),
        properties=read_properties(options["properties"]),
    )


def check_settings(settings: HadoopSettings) -> None:
    """Refuse settings with which Hadoop would not start, or would start misconfigured.

    Raises:
        UserError: a setting is wrong.
    """
    if not settings.master:
        raise UserError("master is empty; set it to the node with NameNode and ResourceManager")
    if not settings.workers:
        raise UserError("workers is empty, which would let any host join; list the nodes that store and compute")
    check_memory(settings.memory)
    check_sites(settings.properties)


def check_memory(memory: Memory) -> None:
    """Raise UserError if the sizes contradict each other."""
    for name, size in (("am", memory.am), ("map", memory.map), ("reduce", memory.reduce)):
        if size > memory.nodemanager:
            raise UserError(
                f"memory.{name} does not fit a NodeManager: {size} MB of {memory.nodemanager} MB, so jobs would wait "
                f"forever for a container; increase nodemanager or decrease {name}"
            )
    if memory.sort * 2 > memory.map:
        raise UserError(
            f"memory.sort is too large: {memory.sort} MB for a map task of {memory.map} MB; set it to half of map"
        )


def check_sites(sites: Iterable[str]) -> None:
    """Raise UserError if one of these is not a configuration file of Hadoop."""
    unknown = sorted(set(sites) - set(SITES))
    if unknown:
        raise UserError(f"properties.{unknown[0]} is not a configuration file; expected one of {', '.join(SITES)}")
