# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node's hostname and hosts file, and what keeps cloud-init from changing both at the next boot."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

HOSTS = "/etc/hosts"
HOSTNAME = "/etc/hostname"
LIVE_HOSTNAME = "/proc/sys/kernel/hostname"
CLOUD_DROPIN = "/etc/cloud/cloud.cfg.d/99-picluster.cfg"
CLOUD_TEMPLATE = "/etc/cloud/templates/hosts.debian.tmpl"

# cloud-init sets the hostname at every boot unless this is set (cloudinit/config/cc_update_hostname.py).
CLOUD_DROPIN_TEXT = """\
# Written by picluster: the inventory decides on hostname and hosts file, at any boot.
preserve_hostname: true
manage_etc_hosts: false
"""

BEGIN = "# BEGIN picluster: the nodes, from the inventory"
END = "# END picluster"
_OURS = re.compile(r"[0-9a-fA-F.:]+\t[a-z0-9-]+")


def _contradicts(address: str, desired: str) -> bool:
    """Return whether a hosts line with `address` contradicts that its name is at `desired`."""
    try:
        found = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    return found.is_loopback or (isinstance(found, ipaddress.IPv4Address) and str(found) != desired)


def _without_names(line: str, hosts: dict[str, str]) -> str | None:
    """Return a hosts line without the names of nodes at another address, or None if no name is left."""
    entry, mark, comment = line.partition("#")
    address, *names = entry.split() or [""]
    labels = {name: name.partition(".")[0] for name in names}
    kept = [name for name in names if labels[name] not in hosts or not _contradicts(address, hosts[labels[name]])]
    if kept == names:
        return line
    if not kept:
        return None
    return f"{address}\t{' '.join(kept)}" + (f" {mark}{comment}" if mark else "")


def _length_of_rest(lines: list[str]) -> int:
    """Return how many of the lines after BEGIN are the block's: up to END, or without END those of our form."""
    for number, line in enumerate(lines):
        if line.strip() == END:
            return number + 1
        if line.strip() == BEGIN:
            break
    return next((number for number, line in enumerate(lines) if not _OURS.fullmatch(line)), len(lines))


def desired_hosts(current: str, hosts: dict[str, str]) -> str:
    """Return the desired text of /etc/hosts; lines without a node's name stay as they are, where they are."""
    block = [BEGIN, *(f"{address}\t{name}" for name, address in hosts.items()), END]
    result: list[str] = []
    placed = False
    lines = current.splitlines()
    while lines:
        line = lines.pop(0)
        if line.strip() == BEGIN:
            del lines[: _length_of_rest(lines)]
            result += [] if placed else block
            placed = True
        elif (kept := _without_names(line, hosts)) is not None:
            result.append(kept)
    if not any("localhost" in line.split("#", 1)[0].split()[1:] and line.startswith("127.") for line in result):
        result.insert(0, "127.0.0.1\tlocalhost")
    if not placed:
        result += block
    return "\n".join(result) + "\n"


def cloud_template(hosts_text: str) -> str:
    """Return the cloud-init template that renders to exactly `hosts_text`.

    `manage_etc_hosts: true` in user-data outranks every file in cloud.cfg.d, so the template itself has to agree
    (cloudinit/config/cc_update_etc_hosts.py; the first line selects the renderer, cloudinit/templater.py).
    """
    return "## template:basic\n" + hosts_text


def set_hostname(node: Node, name: str) -> None:
    """Set the static and the live hostname."""

    def live() -> str:
        return (node.files.read(LIVE_HOSTNAME) or "").strip()

    node.files.put(HOSTNAME, name + "\n", may_be_mount=True)
    if live() == name:
        return
    node.note("live hostname", live(), name)
    if node.check_mode:
        return
    # systemd-hostnamed informs NetworkManager, which would otherwise restore the old name at its next event.
    node.run("hostnamectl", "set-hostname", name)
    if live() != name:
        node.change("hostname", name)


def set_hosts(node: Node, hosts: dict[str, str]) -> None:
    """Write /etc/hosts, and what cloud-init makes of it."""
    text = desired_hosts(node.files.read(HOSTS) or "", hosts)
    node.files.put(HOSTS, text, may_be_mount=True)
    if node.path("/etc/cloud").is_dir():
        node.files.put(CLOUD_DROPIN, CLOUD_DROPIN_TEXT)
    if node.path(CLOUD_TEMPLATE).exists():
        node.files.put(CLOUD_TEMPLATE, cloud_template(text))
