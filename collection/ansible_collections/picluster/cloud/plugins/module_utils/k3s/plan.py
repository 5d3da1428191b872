# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What a k3s node must look like: pure functions from settings to files.

Names, paths and the unit are those of k3s's own install.sh, so that its documentation holds on our nodes too.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass, field
from typing import Any

CONFIG_DIR = "etc/rancher/k3s"
DATA_DIR = "var/lib/rancher/k3s"
BIN_DIR = "usr/local/bin"
UNIT_DIR = "etc/systemd/system"
SERVICES = {"server": "k3s", "agent": "k3s-agent"}
LINKS = ("k3s", "kubectl", "crictl", "ctr")
HEADER = "# Written by picluster's role k3s; changes made here are lost at its next run.\n"
# What the role decides: a second opinion in k3s_config would break the node in ways that are hard to see.
OWN_KEYS = frozenset(
    {"token", "token-file", "agent-token", "agent-token-file", "server", "node-name", "node-ip", "data-dir"}
    | {"advertise-address", "with-node-id"}
)
_SECRET_KEY = re.compile(r"token|secret|password|passwd|auth|access-key|datastore-endpoint|username", re.IGNORECASE)
# A name and its value's sign, as in `name: x`, `"name":"x"`, `name = x`, `name=x`; and a login in an address.
_NAMED = re.compile(r"""(?P<name>[\w./+-]+)["']?\s*(?P<sign>:(?=[\s"'{\[]|$)|=)""")
_LOGIN = re.compile(r"://[^/@\s\"']+@")
_NOTHING = ("", "{}", "[]", '""', "null")
_VERSION = re.compile(r"^v(\d+)\.(\d+)\.\d+[A-Za-z0-9.+_-]*$")
# YAML 1.1 takes bare words like no, on, y and null for something else than text.
_PLAIN_KEY = re.compile(r"^(?!(?:y|n|yes|no|on|off|true|false|null)$)[A-Za-z][A-Za-z0-9_./+-]*$", re.IGNORECASE)
_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")
# From Kubernetes 1.35 on the kubelet refuses cgroup v1 unless told otherwise (KEP-5573).
_REFUSES_CGROUP_V1 = (1, 35)
# k3s's containerd is 2.x from 1.32 on; its configuration has another version and another file name.
_CONTAINERD_2 = (1, 32)


class SettingsError(Exception):
    """A setting that cannot work; the text is one sentence for the user."""


@dataclass(frozen=True)
class File:
    """A file as it shall be."""

    text: str
    mode: int = 0o600
    secret: bool = False


@dataclass(frozen=True)
class Machine:
    """What the node's kernel and its init allow."""

    cgroup_version: int = 2
    memory_cgroup: bool = True
    # Whether init may raise limits (CAP_SYS_RESOURCE); a container often may not.
    may_raise_limits: bool = True
    # Hard limits of init, by systemd's name; absent or None is infinity.
    hard_limits: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """What the inventory wants of one node."""

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


def kubernetes_version(version: str) -> tuple[int, int]:
    """Return major and minor of a k3s version as `v1.36.4+k3s1`.

    Raises:
        SettingsError: When it is no such version.
    """
    match = _VERSION.match(version)
    if not match:
        raise SettingsError(f"k3s_version is '{version}'; wanted is a release as v1.36.4+k3s1")
    return int(match[1]), int(match[2])


def check(wish: Wish) -> None:
    """Refuse settings that cannot work.

    Raises:
        SettingsError: With the variable that is wrong and what would be right.
    """
    kubernetes_version(wish.version)
    if not _NAME.match(wish.node_name):
        raise SettingsError(f"k3s_node_name is '{wish.node_name}'; wanted are small letters, digits, '-' and '.'")
    for name, value in (("k3s_node_address", wish.node_address), ("k3s_server_address", wish.server_address)):
        try:
            ipaddress.ip_address(value)
        except ValueError as error:
            raise SettingsError(f"{name} is '{value}'; wanted is an IP address") from error
    needed = {"k3s_agent_token": wish.agent_token} | ({"k3s_token": wish.token} if wish.role == "server" else {})
    for name, value in needed.items():
        # A token with K10 pins a CA that does not exist yet when all nodes start together.
        if not re.fullmatch(r"[!-~]{16,}", value) or value.startswith("K10"):
            raise SettingsError(
                f"{name} must be a plain secret of at least 16 printable characters that is no K10 token"
            )
    if wish.limit_nofile < 1:
        raise SettingsError(f"k3s_limit_nofile is {wish.limit_nofile}; wanted is a positive number")
    taken = sorted(OWN_KEYS & {key.rstrip("+") for key in wish.config})
    if taken:
        raise SettingsError(f"k3s_config must not have {', '.join(taken)}; the role sets that from its own variables")


def config(wish: Wish, machine: Machine) -> dict[str, Any]:
    """Compute config.yaml as a dictionary: the role's keys, then the user's; lists of both are joined."""
    own: dict[str, Any] = {"node-name": wish.node_name, "node-ip": wish.node_address}
    if wish.role == "server":
        own["token-file"] = f"/{CONFIG_DIR}/server-token"
        own["agent-token-file"] = f"/{CONFIG_DIR}/agent-token"
        own["advertise-address"] = wish.node_address
        own["tls-san"] = [wish.node_address, wish.node_name]
        if wish.server_address != wish.node_address:
            own["server"] = f"https://{_bracketed(wish.server_address)}:6443"
    else:
        own["token-file"] = f"/{CONFIG_DIR}/agent-token"
        own["server"] = f"https://{_bracketed(wish.server_address)}:6443"
    if machine.cgroup_version == 1 and kubernetes_version(wish.version) >= _REFUSES_CGROUP_V1:
        own["kubelet-arg"] = ["fail-cgroupv1=false"]
    merged = dict(own)
    for key, value in wish.config.items():
        merged[key] = [*own[key], *_listed(value, without=own[key])] if isinstance(own.get(key), list) else value
    return merged


def _listed(value: Any, without: list[Any]) -> list[Any]:  # noqa: ANN401 - a user's YAML value
    return [item for item in (value if isinstance(value, list) else [value]) if item not in without]


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def to_yaml(value: Any, depth: int = 0) -> str:  # noqa: ANN401 - any plain data
    """Write plain data as YAML; scalars in JSON's notation, which YAML shares, so nothing is ever misread."""
    pad = "  " * depth
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            name = key if _PLAIN_KEY.match(str(key)) else json.dumps(str(key), ensure_ascii=False)
            nested = isinstance(item, dict | list) and item
            lines.append(f"{pad}{name}:\n{to_yaml(item, depth + 1)}" if nested else f"{pad}{name}: {to_yaml(item)}")
        return "".join(lines)
    if isinstance(value, list) and value:
        return "".join(f"{pad}- {to_yaml(item, depth + 1).lstrip() if item else to_yaml(item)}" for item in value)
    return json.dumps(value, ensure_ascii=False) + "\n"


def limits(machine: Machine, nofile: int) -> dict[str, str]:
    """Compute the unit's limits: stock k3s's, lowered to what init can give where it may not raise them.

    systemd refuses to start a unit whose limit it cannot set.
    """
    wanted: dict[str, int | None] = {"LimitNOFILE": nofile, "LimitNPROC": None, "LimitCORE": None}
    result = {}
    for name, value in wanted.items():
        hard = machine.hard_limits.get(name)
        given = value
        if not machine.may_raise_limits and hard is not None:
            given = hard if value is None else min(value, hard)
        result[name] = "infinity" if given is None else str(given)
    return result


def unit(wish: Wish, machine: Machine) -> str:
    """Write the systemd unit, as k3s's install.sh would (facts of 2026: Type=notify, no start time-out)."""
    service = SERVICES[wish.role]
    given = "\n".join(f"{name}={value}" for name, value in limits(machine, wish.limit_nofile).items())
    return f"""{HEADER}[Unit]
Description=Lightweight Kubernetes ({wish.role})
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
ExecStart=/{BIN_DIR}/k3s {wish.role}
"""


def template_path(version: str) -> str:
    """Return where k3s looks for a containerd template of the user's."""
    name = "config-v3.toml.tmpl" if kubernetes_version(version) >= _CONTAINERD_2 else "config.toml.tmpl"
    return f"{DATA_DIR}/agent/etc/containerd/{name}"


# Files that belong to the role: what is not wanted of them (any more) goes, if the role wrote it.
OWNED = (
    f"{CONFIG_DIR}/config.yaml",
    f"{CONFIG_DIR}/server-token",
    f"{CONFIG_DIR}/agent-token",
    f"{CONFIG_DIR}/registries.yaml",
    f"{UNIT_DIR}/k3s.service",
    f"{UNIT_DIR}/k3s-agent.service",
    f"{DATA_DIR}/agent/etc/containerd/config.toml.tmpl",
    f"{DATA_DIR}/agent/etc/containerd/config-v3.toml.tmpl",
    f"{DATA_DIR}/agent/etc/containerd/config-v3.toml.d/50-picluster.toml",
)
_DROP_IN = """version = 3

# Init may not lower a process's OOM score here (no CAP_SYS_RESOURCE), and runc fails a pod that asks for it.
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
"""


def files(wish: Wish, machine: Machine) -> dict[str, File]:
    """Compute all files of the node, by path below the root."""
    if wish.role not in SERVICES:
        return {}
    result = {
        f"{CONFIG_DIR}/config.yaml": File(HEADER + to_yaml(config(wish, machine))),
        f"{CONFIG_DIR}/agent-token": File(f"{wish.agent_token}\n", secret=True),
        f"{UNIT_DIR}/{SERVICES[wish.role]}.service": File(unit(wish, machine), mode=0o644),
    }
    if wish.role == "server":
        result[f"{CONFIG_DIR}/server-token"] = File(f"{wish.token}\n", secret=True)
    if wish.registries:
        result[f"{CONFIG_DIR}/registries.yaml"] = File(HEADER + to_yaml(wish.registries), secret=True)
    if wish.containerd_template:
        result[template_path(wish.version)] = File(HEADER + wish.containerd_template)
    if not machine.may_raise_limits and kubernetes_version(wish.version) >= _CONTAINERD_2:
        result[OWNED[-1]] = File(HEADER + _DROP_IN, mode=0o644)
    return result


def redact(text: str) -> str:
    """Hide what may be secret in YAML or TOML, for a diff that people will see.

    By line, because what it gets may be somebody's own file: the rest of a line after a name that sounds secret, also
    in flow mappings and in list items as `oidc-client-secret=...`, and the block below such a name.
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
