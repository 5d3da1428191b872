# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The hosts file of a node, and what makes cloud-init write the same: texts only."""

from __future__ import annotations

import ipaddress
import re

BEGIN = "# BEGIN picluster: the nodes, from the inventory"
END = "# END picluster"
_OURS = re.compile(r"[0-9a-fA-F.:]+\t[a-z0-9-]+")


def _leads_astray(address: str, wanted: str) -> bool:
    """Whether a hosts line with `address` contradicts that its name lives at `wanted`."""
    try:
        found = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    return found.is_loopback or (isinstance(found, ipaddress.IPv4Address) and str(found) != wanted)


def _without_names(line: str, hosts: dict[str, str]) -> str | None:
    """Return a hosts line without the names of nodes that it leads astray, or None if no name is left."""
    entry, mark, comment = line.partition("#")
    address, *names = entry.split() or [""]
    kept = [n for n in names if not (n.split(".", 1)[0] in hosts and _leads_astray(address, hosts[n.split(".", 1)[0]]))]
    if kept == names:
        return line
    if not kept:
        return None
    return f"{address}\t{' '.join(kept)}" + (f" {mark}{comment}" if mark else "")


def _length_of_rest(lines: list[str]) -> int:
    """Return how many of the lines behind BEGIN are the block's; one that lost its end has only lines such as ours."""
    for number, line in enumerate(lines):
        if line.strip() == END:
            return number + 1
        if line.strip() == BEGIN:
            break
    return next((number for number, line in enumerate(lines) if not _OURS.fullmatch(line)), len(lines))


def desired_hosts(current: str, hosts: dict[str, str]) -> str:
    """Return the text that /etc/hosts must have.

    Args:
        current: its text now; lines that say nothing about a node stay as they are, where they are.
        hosts: name to address of every node.
    """
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

    `manage_etc_hosts: true` in user-data outranks every file in cloud.cfg.d, so that the template itself has to agree
    (cloudinit/config/cc_update_etc_hosts.py; the first line selects the renderer, cloudinit/templater.py).
    """
    return "## template:basic\n" + hosts_text
