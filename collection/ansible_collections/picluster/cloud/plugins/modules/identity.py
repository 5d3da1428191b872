#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Give a node its name, its knowledge of the other nodes' names, and keep cloud-init from taking either back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: identity
short_description: A node's name and its peers' names
description:
  - Sets the hostname, at once and for every later boot.
  - Keeps one marked block with the names and addresses of all nodes in C(/etc/hosts). The node's own name leads
    to its real
    address; lines that lead it to a loopback address, or a node's name to another IPv4 address, lose that name.
  - Tells cloud-init, where it is installed, to leave both alone.
  - Refuses a node whose userland is built for another architecture than the inventory says.
version_added: 0.1.0
options:
  hostname:
    description: The node's name, one RFC 1123 label.
    type: str
    required: true
  hosts:
    description: Name and address of every node, this one included.
    type: dict
    required: true
  arch:
    description: The architecture that the node's userland must have, as C(dpkg --print-architecture) names it.
    type: str
    choices: [arm64, armhf, amd64]
    required: true
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows every file and the hostname before and after.
  idempotent:
    support: full
    description: A second call changes nothing.
author: The picluster authors
"""

EXAMPLES = r"""
- name: Give red1 its name
  picluster.cloud.identity:
    hostname: red1
    hosts: {red1: 192.168.63.11, red2: 192.168.63.12}
    arch: arm64
"""

RETURN = r"""
hostname:
  description: The name the node has now, or would have.
  returned: success
  type: str
  sample: red1
arch:
  description: The architecture of the node's userland.
  returned: success
  type: str
  sample: arm64
"""

import ipaddress
import os
import re
import socket
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils._files import TextFiles, card_trouble, read_text

BEGIN = "# BEGIN picluster: the nodes, from the inventory"
END = "# END picluster"
HOSTS = "/etc/hosts"
HOSTNAME = "/etc/hostname"
CLOUD_DROPIN = "/etc/cloud/cloud.cfg.d/99-picluster.cfg"
CLOUD_TEMPLATE = "/etc/cloud/templates/hosts.debian.tmpl"
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

# cloud-init sets the hostname at every boot unless told not to (cloudinit/config/cc_update_hostname.py).
CLOUD_DROPIN_TEXT = """\
# Written by picluster: the inventory decides on hostname and hosts file, at any boot.
preserve_hostname: true
manage_etc_hosts: false
"""


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


def desired_hosts(current: str, hosts: dict[str, str]) -> str:
    """Return the text that /etc/hosts must have.

    Args:
        current: its text now; lines that say nothing about a node stay as they are, where they are.
        hosts: name to address of every node.
    """
    block = [BEGIN, *(f"{address}\t{name}" for name, address in hosts.items()), END]
    result: list[str] = []
    inside = placed = False
    for line in current.splitlines():
        if line.strip() == BEGIN:
            inside = True
            if not placed:
                result += block
                placed = True
        elif inside:
            # A block that lost its end (a run killed by an editor, say) ends where the file ends.
            inside = line.strip() != END
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


def arch_problem(hostname: str, wanted: str, userland: str, machine: str) -> str | None:
    """Return one sentence if the node's architecture is not what the inventory says, else None.

    Args:
        hostname: the node's name in the inventory.
        wanted: the inventory's node_arch.
        userland: what `dpkg --print-architecture` answers; a 64-bit kernel can run a 32-bit userland.
        machine: the kernel's machine name.
    """
    if machine.startswith(("armv5", "armv6")):
        return (
            f"{hostname} is an {machine} board (Raspberry Pi 1 or Zero), for which there is neither Docker nor k3s: "
            "use a Raspberry Pi 2 or newer, or take the node out of the inventory"
        )
    if userland == wanted:
        return None
    return (
        f"the programs on {hostname} are built for {userland} (kernel: {machine}), but its inventory says node_arch: "
        f"{wanted}: set node_arch: {userland} for {hostname} in the inventory, or burn its card from an image "
        f"for {wanted}"
    )


class Node:
    """The running system, as far as this module touches it."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self.files = TextFiles(module)

    def userland(self) -> str:
        """Ask dpkg for the architecture that packages are installed for."""
        _rc, out, _err = self._module.run_command(["dpkg", "--print-architecture"], check_rc=True)
        return str(out).strip()

    def set_hostname(self, name: str) -> None:
        """Bring the static and the live hostname to `name`."""
        self.files.put(HOSTNAME, name + "\n", may_be_mount=True)
        live = socket.gethostname()
        if live == name:
            return
        self.files.diff.append(
            {
                "before_header": "live hostname",
                "after_header": "live hostname",
                "before": live + "\n",
                "after": name + "\n",
            }
        )
        if self._module.check_mode:
            return
        # systemd-hostnamed tells NetworkManager, which would otherwise put the old name back at its next event.
        self._module.run_command(["hostnamectl", "set-hostname", name])
        if socket.gethostname() != name:
            socket.sethostname(name)

    def set_hosts(self, hosts: dict[str, str]) -> None:
        """Bring /etc/hosts and cloud-init's opinion of it to the wanted text."""
        text = desired_hosts(read_text(HOSTS) or "", hosts)
        self.files.put(HOSTS, text, may_be_mount=True)
        if Path("/etc/cloud").is_dir():
            self.files.put(CLOUD_DROPIN, CLOUD_DROPIN_TEXT)
        if Path(CLOUD_TEMPLATE).exists():
            self.files.put(CLOUD_TEMPLATE, cloud_template(text))


def bad_input(hostname: str, hosts: dict[str, str]) -> str | None:
    """Return one sentence about the options, or None if they can be worked with."""
    if not LABEL.fullmatch(hostname):
        return (
            f"hostname is {hostname!r}, wanted is one RFC 1123 label: a-z, 0-9 and inner hyphens, at most 63 characters"
        )
    if hostname not in hosts:
        return (
            f"hosts has no entry for {hostname}, so that the node would not know its own address: add {hostname}: "
            "<address>"
        )
    for name, address in hosts.items():
        try:
            ipaddress.ip_address(str(address))
        except ValueError:
            return f"hosts gives {name} the address {address!r}, wanted is an IP address such as 192.168.1.11"
    return None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "hostname": {"type": "str", "required": True},
            "hosts": {"type": "dict", "required": True},
            "arch": {"type": "str", "required": True, "choices": ["arm64", "armhf", "amd64"]},
        },
        supports_check_mode=True,
    )
    hostname: str = module.params["hostname"]
    hosts: dict[str, str] = module.params["hosts"]
    node = Node(module)
    userland = node.userland()
    problem = bad_input(hostname, hosts) or arch_problem(hostname, module.params["arch"], userland, os.uname().machine)
    if problem:
        module.fail_json(msg=problem)
    try:
        node.set_hostname(hostname)
        node.set_hosts(hosts)
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    module.exit_json(changed=node.files.changed, diff=node.files.diff, hostname=hostname, arch=userland)


if __name__ == "__main__":
    main()
