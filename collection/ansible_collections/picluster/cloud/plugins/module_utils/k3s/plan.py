# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The desired files of a k3s node, computed from its settings. Nothing here touches the node.

Names, paths and the unit are those of k3s's own install.sh, so that its documentation holds on our nodes too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import kubernetes_version

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import K3sSettings
    from ansible_collections.picluster.cloud.plugins.module_utils.node.machine import Capabilities

CONFIG_DIR = "/etc/rancher/k3s"
DATA_DIR = "/var/lib/rancher/k3s"
BIN_DIR = "/usr/local/bin"
UNIT_DIR = "/etc/systemd/system"
SERVICES = {"server": "k3s", "agent": "k3s-agent"}
LINKS = ("k3s", "kubectl", "crictl", "ctr")
HEADER = "# Written by picluster's role k3s; changes made here are lost at its next run.\n"
_SECRET_KEY = re.compile(r"token|secret|password|passwd|auth|access-key|datastore-endpoint|username", re.IGNORECASE)
# A name and its value's sign, as in `name: x`, `"name":"x"`, `name = x`, `name=x`; and a login in an address.
_NAMED = re.compile(r"""(?P<name>[\w./+-]+)["']?\s*(?P<sign>:(?=[\s"'{\[]|$)|=)""")
_LOGIN = re.compile(r"://[^/@\s\"']+@")
_NOTHING = ("", "{}", "[]", '""', "null")
# YAML 1.1 takes bare words like no, on, y and null for something else than text.
_PLAIN_KEY = re.compile(r"^(?!(?:y|n|yes|no|on|off|true|false|null)$)[A-Za-z][A-Za-z0-9_./+-]*$", re.IGNORECASE)
# From Kubernetes 1.35 on the kubelet refuses cgroup v1 unless told otherwise (KEP-5573).
_REFUSES_CGROUP_V1 = (1, 35)
# k3s's containerd is 2.x from 1.32 on; its configuration has another version and another file name.
_CONTAINERD_2 = (1, 32)


@dataclass(frozen=True)
class K3sFile:
    """A desired file.

    Attributes:
        text: Its content.
        mode: Its permission bits.
        secret: Whether no diff may show any of its content.
    """

    text: str
    mode: int = 0o600
    secret: bool = False


def config(settings: K3sSettings, capabilities: Capabilities) -> dict[str, Any]:
    """Return config.yaml as a dictionary: the role's keys, then the user's; lists of both are joined."""
    own: dict[str, Any] = {"node-name": settings.node_name, "node-ip": settings.node_address}
    if settings.role == "server":
        own["token-file"] = f"{CONFIG_DIR}/server-token"
        own["agent-token-file"] = f"{CONFIG_DIR}/agent-token"
        own["advertise-address"] = settings.node_address
        own["tls-san"] = [settings.node_address, settings.node_name]
        if settings.server_address != settings.node_address:
            own["server"] = f"https://{_bracketed(settings.server_address)}:6443"
    else:
        own["token-file"] = f"{CONFIG_DIR}/agent-token"
        own["server"] = f"https://{_bracketed(settings.server_address)}:6443"
    if capabilities.cgroup_version == 1 and kubernetes_version(settings.version) >= _REFUSES_CGROUP_V1:
        own["kubelet-arg"] = ["fail-cgroupv1=false"]
    merged = dict(own)
    for key, value in settings.config.items():
        merged[key] = [*own[key], *_listed(value, without=own[key])] if isinstance(own.get(key), list) else value
    return merged


def _listed(value: Any, without: list[Any]) -> list[Any]:  # noqa: ANN401 - a user's YAML value
    return [item for item in (value if isinstance(value, list) else [value]) if item not in without]


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def to_yaml(value: Any, depth: int = 0) -> str:  # noqa: ANN401 - any plain data
    """Return plain data as YAML; scalars in JSON's notation, which YAML shares, so that none is misread."""
    pad = "  " * depth
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            name = key if _PLAIN_KEY.match(str(key)) else json.dumps(str(key), ensure_ascii=False)
            nested = isinstance(item, (dict, list)) and item
            lines.append(f"{pad}{name}:\n{to_yaml(item, depth + 1)}" if nested else f"{pad}{name}: {to_yaml(item)}")
        return "".join(lines)
    if isinstance(value, list) and value:
        return "".join(f"{pad}- {to_yaml(item, depth + 1).lstrip() if item else to_yaml(item)}" for item in value)
    return json.dumps(value, ensure_ascii=False) + "\n"


def limits(capabilities: Capabilities, nofile: int) -> dict[str, str]:
    """Return the unit's limits: those of k3s's own unit, lowered to init's where init may not raise them.

    systemd refuses to start a unit whose limit it cannot set.
    """
    stock: dict[str, int | None] = {"LimitNOFILE": nofile, "LimitNPROC": None, "LimitCORE": None}
    result = {}
    for name, value in stock.items():
        hard = capabilities.hard_limits.get(name)
        given = value
        if not capabilities.may_raise_limits and hard is not None:
            given = hard if value is None else min(value, hard)
        result[name] = "infinity" if given is None else str(given)
    return result


def unit(settings: K3sSettings, capabilities: Capabilities) -> str:
    """Return the systemd unit that k3s's install.sh of 2026 writes: Type=notify, no start time-out."""
    service = SERVICES[settings.role]
    given = "\n".join(f"{name}={value}" for name, value in limits(capabilities, settings.limit_nofile).items())
    return f"""{HEADER}[Unit]
Description=Lightweight Kubernetes ({settings.role})
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type=notify
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=-/etc/systemd/system/{service}.service.env
KillMode=process
Delegate=yes
User=root
{given}
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart={BIN_DIR}/k3s {settings.role}
"""


def template_path(version: str) -> str:
    """Return where k3s looks for the user's template of containerd's configuration."""
    name = "config-v3.toml.tmpl" if kubernetes_version(version) >= _CONTAINERD_2 else "config.toml.tmpl"
    return f"{DATA_DIR}/agent/etc/containerd/{name}"


# The role's files beside its units; one that is not desired is removed if the role wrote it.
OWNED = (
    f"{CONFIG_DIR}/config.yaml",
    f"{CONFIG_DIR}/server-token",
    f"{CONFIG_DIR}/agent-token",
    f"{CONFIG_DIR}/registries.yaml",
    f"{DATA_DIR}/agent/etc/containerd/config.toml.tmpl",
    f"{DATA_DIR}/agent/etc/containerd/config-v3.toml.tmpl",
    f"{DATA_DIR}/agent/etc/containerd/config-v3.toml.d/50-picluster.toml",
)
_DROP_IN = """version = 3

# Init may not lower a process's OOM score here (no CAP_SYS_RESOURCE), and runc fails a pod that asks for it.
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
"""


def files(settings: K3sSettings, capabilities: Capabilities) -> dict[str, K3sFile]:
    """Return all desired files of the node, by path."""
    if settings.role not in SERVICES:
        return {}
    result = {
        f"{CONFIG_DIR}/config.yaml": K3sFile(HEADER + to_yaml(config(settings, capabilities))),
        f"{CONFIG_DIR}/agent-token": K3sFile(f"{settings.agent_token}\n", secret=True),
        f"{UNIT_DIR}/{SERVICES[settings.role]}.service": K3sFile(unit(settings, capabilities), mode=0o644),
    }
    if settings.role == "server":
        result[f"{CONFIG_DIR}/server-token"] = K3sFile(f"{settings.token}\n", secret=True)
    if settings.registries:
        result[f"{CONFIG_DIR}/registries.yaml"] = K3sFile(HEADER + to_yaml(settings.registries), secret=True)
    if settings.containerd_template:
        result[template_path(settings.version)] = K3sFile(HEADER + settings.containerd_template)
    if not capabilities.may_raise_limits and kubernetes_version(settings.version) >= _CONTAINERD_2:
        result[OWNED[-1]] = K3sFile(HEADER + _DROP_IN, mode=0o644)
    return result


def redact(text: str) -> str:
    """Hide what may be secret in YAML or TOML, for the diff.

    Works by line, because the text may be the user's own file: it hides the rest of a line after a name that sounds
    secret, also in flow mappings and in list items such as `oidc-client-secret=...`, and the block below such a name.
    """
    shown: list[str] = []
    below: int | None = None  # the indent of a secret name whose value is the block under it
    for line in text.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip(" "))
        if below is not None and line.strip():
            # YAML lets a list begin at its key's own indent.
            if indent > below or (indent == below and line.lstrip().startswith("- ")):
                shown.append(f"{line[:indent]}(hidden)\n")
                continue
            below = None
        found = next((match for match in _NAMED.finditer(line) if _sounds_secret(match["name"])), None)
        if found is None:
            shown.append(_LOGIN.sub("://(hidden)@", line))
            continue
        value = line[found.end() :].strip()
        if value in ("", "|", ">", "|-", ">-", "|+", ">+") and found["sign"] == ":":
            below = indent
        shown.append(line if value in _NOTHING else f"{line[: found.end()]} (hidden)\n")
    return "".join(shown)


def _sounds_secret(name: str) -> bool:
    # token-file and its like name a path, which is no secret.
    return bool(_SECRET_KEY.search(name)) and not name.endswith("-file")
