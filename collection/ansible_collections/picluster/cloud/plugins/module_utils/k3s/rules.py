# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of k3s on one node, and which of them cannot work. Nothing here touches the node."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.flags import FLAGS
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.forms import refuse_near_misses

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

T = TypeVar("T")

# Keys that the role sets: another value in the user's configuration would break the node in ways that are hard to see.
OWN_KEYS = frozenset(
    {"token", "token-file", "agent-token", "agent-token-file", "server", "node-name", "node-ip", "data-dir"}
    | {"advertise-address", "with-node-id"}
)
# Of registries.yaml (k3s, pkg/agent/templates and rancher/wharfie, registries.Registry).
_REGISTRY_KEYS = frozenset({"mirrors", "configs", "auths"})
_VERSION = re.compile(r"^v(\d+)\.(\d+)\.\d+[A-Za-z0-9.+_-]*$")
_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")


@dataclass(frozen=True)
class K3sSettings:
    """What k3s shall be on one node: the options of the module k3s_node, decoded."""

    role: str
    version: str
    server_address: str
    node_name: str
    node_address: str
    token: str
    agent_token: str
    config: dict[str, Any] = field(default_factory=dict)
    registries: dict[str, Any] = field(default_factory=dict)
    containerd_template: str = ""
    limit_nofile: int = 1048576
    sha256: str = ""
    probe: bool = True
    images: bool = False


def read_settings(options: Mapping[str, Any]) -> K3sSettings:
    """Return the settings from the options of module k3s_node; for role none only the role counts."""
    same = ("role", "server_address", "node_name", "node_address", "token", "agent_token")
    settings = K3sSettings(
        version=str(options["artifact"].get("version", "")),
        sha256=str(options["artifact"].get("sha256", "")),
        containerd_template=_decode("containerd_template", options["containerd_template"], ""),
        config=_decode("config", options["config"], {}),
        registries=_decode("registries", options["registries"], {}),
        **{name: options[name] for name in (*same, "limit_nofile", "probe", "images")},
    )
    if settings.role != "none":
        check_settings(settings)
    return settings


def _decode(name: str, text: str, empty: T) -> T:
    """Return the value of an option given as JSON; a wrong one is not shown, as it may be secret."""
    try:
        value = json.loads(text) if text else empty
    except ValueError:
        value = None
    if not isinstance(value, type(empty)):
        kind = "mapping" if isinstance(empty, dict) else "string"
        raise UserError(f"{name} is not a {kind} in JSON; pass it through the filter to_json")
    return value


def kubernetes_version(version: str) -> tuple[int, int]:
    """Return major and minor of a k3s version such as v1.36.4+k3s1."""
    match = _VERSION.match(version)
    if not match:
        raise UserError(f"version is not a release of k3s: '{version}'; use one such as v1.36.4+k3s1")
    return int(match[1]), int(match[2])


def check_settings(settings: K3sSettings) -> None:
    """Check that settings can work."""
    kubernetes_version(settings.version)
    if not _NAME.match(settings.node_name):
        raise UserError(
            f"node_name is not a node name of Kubernetes: '{settings.node_name}'; use lower-case letters, digits, '-' "
            "and '.'"
        )
    for name in ("node_address", "server_address"):
        value = getattr(settings, name)
        try:
            ipaddress.ip_address(value)
        except ValueError as error:
            raise UserError(f"{name} is not an IP address: '{value}'; set it to the address of a node") from error
    for name in ("agent_token", "token") if settings.role == "server" else ("agent_token",):
        # A token with K10 pins a CA that does not exist yet when all nodes start together.
        value = getattr(settings, name)
        if not re.fullmatch(r"[!-~]{16,}", value) or value.startswith("K10"):
            raise UserError(
                f"{name} is not a plain secret: it must have at least 16 printable characters, no blanks, and must not "
                "start with K10; choose another"
            )
    check_config(settings.config)
    check_registries(settings.registries)


def check_registries(keys: Iterable[str]) -> None:
    """Raise UserError if one of these is not a key of registries.yaml, which k3s would ignore."""
    unknown = sorted(set(keys) - _REGISTRY_KEYS)
    if unknown:
        expected = ", ".join(sorted(_REGISTRY_KEYS))
        raise UserError(f"registries contains {unknown[0]}, which k3s ignores; expected {expected}")


def check_config(keys: Collection[str]) -> None:
    """Raise UserError if the role sets one of these keys of config.yaml itself, or k3s would skip one."""
    taken = sorted(OWN_KEYS & {key.rstrip("+") for key in keys})
    if taken:
        raise UserError(f"config contains keys that the role k3s sets: {', '.join(taken)}; remove them")
    # A plus appends to what other files have.
    refuse_near_misses("config", [key.rstrip("+") for key in keys], FLAGS)
