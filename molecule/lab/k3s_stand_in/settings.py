# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Settings: the flags of a command line, and config.yaml."""

from __future__ import annotations

import json
import platform
import socket
from dataclasses import dataclass
from pathlib import Path

from lab.k3s_stand_in.output import FatalError

# Kubernetes' defaults: --node-status-update-frequency of the kubelet, --node-monitor-grace-period of its controller.
HEARTBEAT_SECONDS, GRACE_SECONDS = 10.0, 40.0
# Flags without a value, as far as an installer may give them; of the others an unknown one is noted, not refused.
SWITCHES = ("cluster-init", "disable-agent", "embedded-registry", "disable-network-policy", "disable-cloud-controller")


def parse_config(text: str) -> dict[str, list[str]]:
    """Read the flat YAML of a config.yaml: `key: value`, or `key:` with a list below."""
    values: dict[str, list[str]] = {}
    key = ""
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        name, colon, value = content.partition(":")
        if content.startswith("- ") and key:
            values[key].append(_scalar(content[2:]))
        elif line[0] not in " -" and colon:
            key = name.strip('"').rstrip("+")
            values[key] = [] if not value.strip() or value.strip() == "[]" else [_scalar(value)]
        else:
            raise FatalError(f"config file line {number} is beyond this stand-in: {line}")
    return values


def _scalar(text: str) -> str:
    text = text.strip()
    return str(json.loads(text)) if text.startswith('"') else text.strip("'")


@dataclass
class Settings:
    """Flags and config file together; a flag wins."""

    role: str
    values: dict[str, list[str]]

    def text(self, name: str, default: str = "") -> str:
        """Return a single value."""
        return (self.values.get(name) or [default])[-1]

    def switch(self, name: str) -> bool:
        """Return a switch."""
        return self.text(name).lower() == "true"

    def secret(self, name: str) -> str:
        """Return a secret given as such, or as a file."""
        file = self.text(f"{name}-file")
        return self.text(name) or (Path(file).read_text(encoding="utf-8").strip() if file else "")

    def seconds(self, flag: str, name: str, default: float) -> float:
        """Return a duration out of the arguments meant for one of Kubernetes' programs."""
        for argument in self.values.get(flag, []):
            key, _, value = argument.partition("=")
            if key == name:
                return float(value.removesuffix("s"))
        return default

    @property
    def heartbeat(self) -> float:
        """The seconds between two signs of life of a node."""
        return self.seconds("kubelet-arg", "node-status-update-frequency", HEARTBEAT_SECONDS)

    @property
    def grace(self) -> float:
        """The seconds of silence after which a node is no longer Ready."""
        return self.seconds("kube-controller-manager-arg", "node-monitor-grace-period", GRACE_SECONDS)

    @property
    def data(self) -> Path:
        """The data directory."""
        return Path(self.text("data-dir", "/var/lib/rancher/k3s"))

    @property
    def node(self) -> dict[str, str]:
        """What this node reports about itself."""
        name = self.text("node-name") or socket.gethostname().lower()
        return {"name": name, "ip": self.text("node-ip", "127.0.0.1"), "role": self.role, "machine": platform.machine()}


def read_flags(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Split a command line into flags (`--name value`, `--name=value`, `-o value`) and other words."""
    flags: dict[str, list[str]] = {}
    words = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        name = {"c": "config", "d": "data-dir", "s": "server", "t": "token", "o": "output"}.get(name, name)
        if not word.startswith("-"):
            words.append(word)
        elif equals or name in SWITCHES:
            flags.setdefault(name, []).append(value if equals else "true")
        elif rest:
            flags.setdefault(name, []).append(rest.pop(0))
        else:
            raise FatalError(f"flag needs an argument: --{name}")
    return flags, words


def read_settings(role: str, arguments: list[str]) -> Settings:
    """Read command line and config file; a flag wins over the file."""
    flags, words = read_flags(arguments)
    if words:
        raise FatalError(f"'k3s {role}' takes flags only, not '{words[0]}'")
    file = Path(flags.pop("config", ["/etc/rancher/k3s/config.yaml"])[-1])
    values = parse_config(file.read_text(encoding="utf-8")) if file.exists() else {}
    return Settings(role, values | flags)
