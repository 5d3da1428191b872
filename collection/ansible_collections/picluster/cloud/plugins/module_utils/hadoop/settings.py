# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a Hadoop node: read from the module's options and checked; which of them are secrets. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.forms import check_path, check_users

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

SITES = ("core-site", "hdfs-site", "yarn-site", "mapred-site", "capacity-scheduler")
# MiB. They fit a board of 4 GB that also runs k3s (memory plan: docs of the role).
DEFAULT_MEMORY = {"nodemanager": 2048, "minimum": 256, "am": 512, "map": 512, "reduce": 768, "sort": 100}
DEFAULT_HEAPS = {
    "namenode": 512,
    "secondarynamenode": 512,
    "datanode": 256,
    "resourcemanager": 384,
    "nodemanager": 256,
    "historyserver": 192,
}
_VERSION = re.compile(r"\d+\.\d+\.\d+(-[A-Za-z0-9.]+)?")
# Debian Policy, 5.6.1.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
# Bytes (dfs.bytes-per-checksum).
_CHUNK = 512
# After Hadoop's own hadoop.security.sensitive-config-keys (core-default.xml of 3.5.0), and wider.
_SECRET = re.compile(
    r"secret|passw(or)?d|passphrase|\bpass\b|account\.key\.|(key|token|credentials?)$",
    re.IGNORECASE,
)
# Names of properties about a secret that do not hold it: its place, lifetime, provider.
_HARMLESS = re.compile(
    r"[.-](files?|path|paths|dir|uri|url|class|classes|type|provider|alias|enabled?|required|algorithm|"
    r"interval|lifetime|expiration|expiry|length|size|bits|ms|sec|secs|seconds|timeout)$",
    re.IGNORECASE,
)
_PROPERTY = re.compile(r"(<name>([^<]*)</name>\s*<value)(?:>([^<]*)</value>| */>)")
HIDDEN = "a secret"
# Shorter values are part of many words; masking them would make the output unreadable.
_LEAST_HIDDEN = 8


@dataclass(frozen=True)
class HadoopSettings:
    """The settings of one node, named as the options of the module hadoop_node."""

    node: str
    master: str
    workers: Collection[str]
    daemons: Collection[str]
    home: str
    release: str
    java_home: str
    replication: int
    block_size: int
    disk_reserved: int
    vcores: int
    memory: Mapping[str, int]
    heaps: Mapping[str, int]
    users: Collection[str]
    properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cluster_id: str = ""
    formatted_on: Collection[str] = ()
    give_up_data: str = ""


def read_properties(sites: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the properties of each file as texts; YAML's true is Hadoop's true, not Python's True."""
    properties = {}
    for site, values in sites.items():
        if not isinstance(values, dict):
            # Without the value: it may hold a secret.
            raise UserError(f"properties.{site} is not a mapping; set it to a mapping of names to values")
        properties[site] = {
            str(name): str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()
        }
    return properties


def read_settings(options: Mapping[str, Any]) -> HadoopSettings:
    """Return the settings in the module's options; raise UserError where a property file is not a mapping."""
    given = {field.name: options[field.name] for field in fields(HadoopSettings)}
    return HadoopSettings(**{**given, "properties": read_properties(options["properties"])})


def check_settings(settings: HadoopSettings) -> None:
    """Refuse settings with which Hadoop would not start, or would start misconfigured."""
    if not settings.master:
        raise UserError("master is empty; set it to the node with NameNode and ResourceManager")
    if not settings.workers:
        raise UserError("workers is empty, which would let any host join; list the nodes that store and compute")
    check_replication(settings.replication, len(settings.workers))
    check_block_size(settings.block_size)
    check_users("users", settings.users)
    check_path("java_home", settings.java_home)
    check_memory(settings.memory)
    check_sites(settings.properties)


def check_replication(copies: int, workers: int) -> None:
    """Raise UserError if there are not as many workers as copies of a block."""
    if copies > workers:
        raise UserError(
            f"replication is larger than the number of workers: {copies} copies on {workers}; decrease it, or set it "
            "to 0, which fits any number"
        )


def check_block_size(size: int) -> None:
    """Raise UserError if HDFS cannot divide a block of this size into chunks with a checksum."""
    if size % _CHUNK:
        right = max(size - size % _CHUNK, _CHUNK)
        raise UserError(f"block_size is not a multiple of {_CHUNK}: {size}; expected one, such as {right}")


def check_version(version: str) -> None:
    """Raise UserError if this cannot be a release of Hadoop."""
    if not _VERSION.fullmatch(version):
        raise UserError(f"version is not a release of Hadoop: {version!r}; expected one such as 3.5.0")


def check_package(name: str) -> None:
    """Raise UserError if this cannot be a package of Debian."""
    if not _PACKAGE.fullmatch(name):
        raise UserError(
            f"java_package is not the name of a package: {name!r}; expected one such as default-jre-headless"
        )


def check_memory(memory: Mapping[str, int]) -> None:
    """Raise UserError if the sizes contradict each other."""
    if memory["minimum"] > memory["nodemanager"]:
        raise UserError(
            f"memory.minimum does not fit a NodeManager: {memory['minimum']} MiB of {memory['nodemanager']} MiB, so "
            "the ResourceManager would not start; increase nodemanager or decrease minimum"
        )
    for name in ("am", "map", "reduce"):
        if memory[name] > memory["nodemanager"]:
            raise UserError(
                f"memory.{name} does not fit a NodeManager: {memory[name]} MiB of {memory['nodemanager']} MiB, so jobs "
                f"would wait forever for a container; increase nodemanager or decrease {name}"
            )
    if memory["sort"] * 2 > memory["map"]:
        raise UserError(
            f"memory.sort is too large: {memory['sort']} MiB for a map task of {memory['map']} MiB; set it to "
            "half of map"
        )


def check_sites(sites: Iterable[str]) -> None:
    """Raise UserError if one of these is not a configuration file of Hadoop."""
    unknown = sorted(set(sites) - set(SITES))
    if unknown:
        raise UserError(f"properties.{unknown[0]} is not a configuration file; expected one of {', '.join(SITES)}")


def is_secret(name: str) -> bool:
    """Return whether a property of this name holds a secret."""
    return bool(_SECRET.search(name)) and not _HARMLESS.search(name)


def hide(properties: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return properties by file as they may be shown."""
    return {
        site: {name: HIDDEN if is_secret(name) else value for name, value in values.items()}
        for site, values in properties.items()
    }


def secrets_of(properties: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Return the values to mask in all output: those long enough to be searched for in any text."""
    return {
        value
        for values in properties.values()
        for name, value in values.items()
        if is_secret(name) and len(value) >= _LEAST_HIDDEN
    }


def hide_in_texts(before: str, after: str) -> tuple[str, str]:
    """Return two versions of a site's XML for a diff, which shows that a secret changed but not the secret."""
    known = {match[2]: match[3] for match in _PROPERTY.finditer(before)}

    def replace(match: re.Match[str], word: str) -> str:
        return f"{match[1]}>{word}</value>" if is_secret(match[2]) else match[0]

    def new(match: re.Match[str]) -> str:
        same = match[2] not in known or known[match[2]] == match[3]
        return replace(match, HIDDEN if same else "another secret")

    return _PROPERTY.sub(lambda match: replace(match, HIDDEN), before), _PROPERTY.sub(new, after)
