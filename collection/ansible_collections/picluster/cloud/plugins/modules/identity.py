#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Give a node what makes it itself: clock, name, peers' names, machine-id, time zone, locale."""

from __future__ import annotations

DOCUMENTATION = r"""
module: identity
short_description: A node's clock, name, peers, machine-id, time zone and locale
description:
  - Sets the clock by the controller's, before all else, where it is more than a minute off and no time server keeps
    it; has time synchronisation on, by the program that is there or by systemd-timesyncd.
  - Sets the hostname, at once and for every later boot.
  - Keeps one marked block with the names and addresses of all nodes in C(/etc/hosts). The node's own name leads
    to its real
    address; lines that lead it to a loopback address, or a node's name to another IPv4 address, lose that name.
  - Tells cloud-init, where it is installed, to leave both alone.
  - Gives the node a machine-id of its own where it has none, or one that another node of the inventory has.
  - Sets time zone and locale; a locale that is not there is generated.
  - Refuses a node whose userland is built for another architecture than the inventory says.
  - Its action plugin hands over the controller's time, keeps each node's machine-id in C(seen.json) beside the
    inventory, and has host keys replaced that C(known_hosts) beside the inventory shows under another node's name too
    (see M(picluster.cloud.host_keys)).
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
  interface:
    description: The network interface whose MAC tells this board from others.
    type: str
    default: eth0
  timezone:
    description: Name of the time zone in the tz database.
    type: str
    default: Etc/UTC
  locale:
    description: What LANG is for everybody who logs in.
    type: str
    default: C.UTF-8
  ntp_servers:
    description: Time servers for systemd-timesyncd; none leaves it those of the image.
    type: list
    elements: str
    default: []
  lock_timeout:
    description: Seconds to wait for another program that holds the package database.
    type: int
    default: 600
  controller_time:
    description:
      - The controller's time in seconds since 1970. The action plugin sets it; without it no clock is looked at.
      - Without O(controller_uptime) nothing is done if the clock may be off, but that RV(clock_reading) is returned.
    type: float
  controller_uptime:
    description: The node's uptime, as of RV(clock_reading), at which O(controller_time) was. The action plugin sets it.
    type: float
  taken_machine_id:
    description: A machine-id that another node has. The action plugin sets it.
    type: str
    default: ""
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
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Give red1 its name
  picluster.cloud.identity:
    hostname: red1
    hosts: {red1: 192.168.63.11, red2: 192.168.63.12}
    arch: arm64
    timezone: Europe/Berlin
    locale: de_DE.UTF-8
    ntp_servers: [192.168.63.1]
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
clock_off:
  description: How many seconds the clock was off, negative if it was behind; 0 if it was not by more than a minute.
  returned: success
  type: int
  sample: -63158400
clock_set:
  description: Whether the clock was set, or would be.
  returned: success
  type: bool
clock_reading:
  description: Clock and uptime when the module began; the action plugin asks for it and does not pass it on.
  returned: instead of all else, if the clock may be off by more than a minute
  type: dict
time_keeper:
  description: The unit that keeps the clock right.
  returned: success
  type: str
  sample: systemd-timesyncd.service
machine_id:
  description: The machine-id that the node has now.
  returned: success
  type: str
  sample: 0f3b7a52c1d84f0e9a1b2c3d4e5f6071
mac:
  description: The MAC of the interface, empty if there is no such interface.
  returned: success
  type: str
  sample: dc:a6:32:01:02:03
new_host_keys:
  description: The public host keys that were made because another node has the former ones.
  returned: when they had to be
  type: list
  elements: str
"""

import ipaddress
import os
import re
import socket
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.identity.clock import Clock
from ansible_collections.picluster.cloud.plugins.module_utils.identity.hosts_file import cloud_template, desired_hosts
from ansible_collections.picluster.cloud.plugins.module_utils.identity.machine_id import MachineId
from ansible_collections.picluster.cloud.plugins.module_utils.identity.region import (
    Region,
    check_locale,
    check_timezone,
)
from ansible_collections.picluster.cloud.plugins.module_utils.identity.time_sync import TimeSync, check_servers
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles, card_trouble, read_text

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
        self.clock = Clock(module, self.files)
        self.machine_id = ""
        self.keeper = ""

    def converge(self, wanted: dict[str, Any]) -> None:
        """Have all that the module's options want, the clock first: without it neither apt nor TLS works.

        Raises:
            ValueError: something cannot be had; the message is one sentence.
            OSError: the card takes nothing.
        """
        if wanted["controller_uptime"] is not None:
            self.clock.set_right(wanted["controller_time"], wanted["controller_uptime"])
        self.set_hostname(wanted["hostname"])
        self.set_hosts(wanted["hosts"])
        self.machine_id = MachineId(self._module, self.files).settle(wanted["taken_machine_id"])
        region = Region(self._module, self.files, wanted["lock_timeout"])
        region.set_timezone(wanted["timezone"])
        region.set_locale(wanted["locale"])
        self.keeper = TimeSync(self._module, self.files, wanted["lock_timeout"]).converge(wanted["ntp_servers"])

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


def mac_of(interface: str) -> str:
    """Return an interface's MAC, empty if there is no such interface."""
    return (read_text(f"/sys/class/net/{interface}/address") or "").strip()


def bad_input(wanted: dict[str, Any]) -> str | None:
    """Return one sentence about the options, or None if they can be worked with."""
    hostname, hosts = wanted["hostname"], wanted["hosts"]
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
    try:
        check_timezone(wanted["timezone"])
        check_locale(wanted["locale"])
        check_servers(wanted["ntp_servers"])
    except ValueError as error:
        return str(error)
    return None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "hostname": {"type": "str", "required": True},
            "hosts": {"type": "dict", "required": True},
            "arch": {"type": "str", "required": True, "choices": ["arm64", "armhf", "amd64"]},
            "interface": {"type": "str", "default": "eth0"},
            "timezone": {"type": "str", "default": "Etc/UTC"},
            "locale": {"type": "str", "default": "C.UTF-8"},
            "ntp_servers": {"type": "list", "elements": "str", "default": []},
            "lock_timeout": {"type": "int", "default": 600},
            "controller_time": {"type": "float"},
            "controller_uptime": {"type": "float"},
            "taken_machine_id": {"type": "str", "default": ""},
        },
        required_by={"controller_uptime": "controller_time"},
        supports_check_mode=True,
    )
    wanted: dict[str, Any] = module.params
    # First of all: it reads the clock.
    node = Node(module)
    userland = node.userland()
    problem = bad_input(wanted) or arch_problem(wanted["hostname"], wanted["arch"], userland, os.uname().machine)
    if problem:
        module.fail_json(msg=problem)
    if wanted["controller_time"] is not None and wanted["controller_uptime"] is None:
        reading = node.clock.doubt(wanted["controller_time"])
        if reading:
            module.exit_json(changed=False, clock_reading=reading)
    try:
        node.converge(wanted)
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    module.exit_json(
        changed=node.files.changed,
        diff=node.files.diff,
        hostname=wanted["hostname"],
        arch=userland,
        clock_off=node.clock.off,
        clock_set=node.clock.was_set,
        time_keeper=node.keeper,
        machine_id=node.machine_id,
        mac=mac_of(wanted["interface"]),
    )


if __name__ == "__main__":
    main()
