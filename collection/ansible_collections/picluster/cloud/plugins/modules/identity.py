#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Set what makes a node itself: clock, name, peers' names, machine-id, time zone, locale."""

from __future__ import annotations

DOCUMENTATION = r"""
module: identity
short_description: A node's clock, name, peers, machine-id, time zone and locale
description:
  - Sets the clock to the controller's time, before all else, if it is more than a minute off and no time server keeps
    it. Enables time synchronization, with the installed program or with systemd-timesyncd.
  - Sets the hostname, at once and for every later boot.
  - Keeps one marked block with the names and addresses of all nodes in C(/etc/hosts). The node's own name resolves to
    its real address. Node names are removed from lines with a loopback address or another IPv4 address.
  - Prevents cloud-init, where it is installed, from changing hostname and hosts file.
  - Gives the node a machine-id of its own if it has none, or one that another node of the inventory has.
  - Sets time zone and locale, and generates the locale if it is missing.
  - Refuses a node whose userland is built for another architecture than O(arch).
  - Its action plugin passes the controller's time, keeps each node's machine-id in C(seen.json) beside the inventory,
    and replaces host keys that C(known_hosts) beside the inventory lists under another node's name too (see
    M(picluster.cloud.host_keys)).
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
    description: The architecture of the node's userland, as C(dpkg --print-architecture) reports it.
    type: str
    choices: [arm64, armhf, amd64]
    required: true
  interface:
    description: The network interface whose MAC identifies this board.
    type: str
    default: eth0
  timezone:
    description: Name of the time zone in the tz database.
    type: str
    default: Etc/UTC
  locale:
    description: LANG of every login.
    type: str
    default: C.UTF-8
  ntp_servers:
    description: Time servers for systemd-timesyncd; empty for those of the image.
    type: list
    elements: str
    default: []
  controller_time:
    description:
      - The controller's time in seconds since 1970, set by the action plugin. Without it the clock is not checked.
      - Without O(controller_uptime), a clock that may be off is only reported as RV(clock_reading), and nothing is
        changed.
    type: float
  controller_uptime:
    description: The node's uptime, as in RV(clock_reading), at O(controller_time). The action plugin sets it.
    type: float
  taken_machine_id:
    description: A machine-id that another node has. The action plugin sets it.
    type: str
    default: ""
extends_documentation_fragment: [picluster.cloud.attributes, picluster.cloud.lock_timeout]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Configure the identity of red1
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
  description: The node's name.
  returned: success
  type: str
  sample: red1
arch:
  description: The architecture of the node's userland.
  returned: success
  type: str
  sample: arm64
clock_off:
  description: Seconds that the clock was off, negative if it was behind; 0 if it was off by a minute at most.
  returned: success
  type: int
  sample: -63158400
clock_set:
  description: Whether the clock was set, or would be.
  returned: success
  type: bool
clock_reading:
  description: Clock and uptime when the module began. The action plugin uses it and does not return it.
  returned: if the clock may be off by more than a minute, and then alone
  type: dict
time_keeper:
  description: The unit that synchronizes the clock.
  returned: success
  type: str
  sample: systemd-timesyncd.service
machine_id:
  description: The node's machine-id.
  returned: success
  type: str
  sample: 0f3b7a52c1d84f0e9a1b2c3d4e5f6071
mac:
  description: The MAC of the interface, empty if there is no such interface.
  returned: success
  type: str
  sample: dc:a6:32:01:02:03
new_host_keys:
  description: The public host keys that replace those of another node.
  returned: when host keys were replaced
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.picluster.cloud.plugins.module_utils.identity.apply import converge
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import LOCK_TIMEOUT

OPTIONS: dict[str, dict[str, Any]] = {
    "hostname": {"type": "str", "required": True},
    "hosts": {"type": "dict", "required": True},
    "arch": {"type": "str", "required": True, "choices": ["arm64", "armhf", "amd64"]},
    "interface": {"type": "str", "default": "eth0"},
    "timezone": {"type": "str", "default": "Etc/UTC"},
    "locale": {"type": "str", "default": "C.UTF-8"},
    "ntp_servers": {"type": "list", "elements": "str", "default": []},
    "lock_timeout": LOCK_TIMEOUT,
    "controller_time": {"type": "float"},
    "controller_uptime": {"type": "float"},
    "taken_machine_id": {"type": "str", "default": ""},
}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS, required_by={"controller_uptime": "controller_time"})


if __name__ == "__main__":
    main()
