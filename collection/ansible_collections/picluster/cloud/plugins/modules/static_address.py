#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Make a node's reserved address its own, for good, without losing the connection."""

from __future__ import annotations

DOCUMENTATION = r"""
module: static_address
short_description: A static IPv4 address equal to the reserved one
description:
  - Makes the address that a node already has by DHCP a static one, at once and at every later boot, without
    losing the connection.
  - Writes a netplan drop-in where netplan is in use (Raspberry Pi OS Trixie, Ubuntu), a NetworkManager profile
    where there is none (Raspberry Pi OS Bookworm).
    The drop-in is tried out in a copy of all of netplan's files before it is written.
  - If the kernel does not have the static address within O(timeout), everything is put back as it was.
  - Refuses to move a node to another address than it has.
  - Takes the interfaces of Docker and of pods out of NetworkManager's hands, and cloud-init's hands off the network.
version_added: 0.1.0
options:
  interface:
    description: The network interface.
    type: str
    required: true
  address:
    description: The node's IPv4 address.
    type: str
    required: true
  prefix:
    description: Bits of the net.
    type: int
    required: true
  gateway:
    description: The router.
    type: str
    required: true
  dns:
    description: Name servers.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds until the kernel must have the address.
    type: int
    default: 30
attributes:
  check_mode:
    support: full
    description: Tries the files out, says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the files and the kernel's address before and after.
  idempotent:
    support: full
    description: A second call changes nothing.
author: The picluster authors
"""

EXAMPLES = r"""
- name: Make the reserved address permanent
  picluster.cloud.static_address:
    interface: eth0
    address: 192.168.63.11
    prefix: 24
    gateway: 192.168.63.1
    dns: [192.168.63.1]
"""

RETURN = r"""
manager:
  description: Who has the interface - netplan and its renderer, or NetworkManager alone.
  returned: success
  type: str
  sample: netplan with NetworkManager
"""

import os
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils._address import (
    CLOUD_NETWORK_OFF,
    NM_UNMANAGED,
    Live,
    Wanted,
    describe,
    elsewhere,
    is_there,
    make_wanted,
    parse_addresses,
    parse_gateways,
)
from ansible_collections.picluster.cloud.plugins.module_utils._files import TextFiles, card_trouble, read_text
from ansible_collections.picluster.cloud.plugins.module_utils._managers import Manager, choose, known_managers

NM_CONF = "/etc/NetworkManager/conf.d/90-picluster-containers.conf"
# Lies in /run, so that it is gone after a reboot, which puts the files in force anyway.
PENDING = "/run/picluster-network-apply"
NM_PENDING = "/run/picluster-networkmanager-reload"
CLOUD_CONF = "/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg"


class Node:
    """The node's network, as far as this module touches it."""

    def __init__(self, module: AnsibleModule, wanted: Wanted) -> None:
        self._module = module
        self._wanted = wanted
        self.files = TextFiles(module)

    def run(self, *command: str) -> str:
        """Return what a command prints; raise ValueError with its own words if it fails."""
        rc, out, err = self._module.run_command(list(command), environ_update={"LC_ALL": "C"})
        if rc != 0:
            raise ValueError(f"{' '.join(command)} failed: {' '.join((err or out).split())}")
        return str(out)

    def live(self) -> tuple[list[Live], set[str]]:
        """Return the kernel's addresses, and its default routers on the interface."""
        return (
            parse_addresses(self.run("ip", "-j", "-4", "address", "show")),
            parse_gateways(self.run("ip", "-j", "-4", "route", "show", "default"), self._wanted.interface),
        )

    def manager(self) -> Manager:
        """Return whoever has the interface.

        Raises:
            ValueError: the interface cannot be handled; the message is one sentence.
        """
        interfaces = sorted(os.listdir("/sys/class/net"))  # noqa: PTH208  # names only, and Path.iterdir gives paths
        live, _gateways = self.live()
        problem = elsewhere(self._wanted, live, interfaces)
        if problem:
            raise ValueError(problem)
        if (Path("/sys/class/net") / self._wanted.interface / "wireless").exists():
            raise ValueError(
                f"{self._wanted.interface} is a wireless interface, for which there is no static address yet: "
                "set node_interface to a wired one"
            )
        return choose(self._wanted, known_managers(self.run, self._wanted.interface), self.run)

    def converge(self, timeout: int) -> str:
        """Bring files and kernel to the wanted address; return who manages it."""
        manager = self.manager()
        live, gateways = self.live()
        manager.try_out()
        before = read_text(manager.path)
        if manager.has_nm:
            self._leave_containers_alone()
        if before != manager.text and not self._module.check_mode:
            # A run that is killed between here and the end of _apply leaves this behind, and the next run applies.
            Path(PENDING).touch()
        self.files.put(manager.path, manager.text, 0o600)
        if before != manager.text or Path(PENDING).exists() or not is_there(self._wanted, live, gateways):
            now, then = (
                describe(self._wanted, live, gateways),
                f"{self._wanted.address.with_prefixlen} static via {self._wanted.gateway}",
            )
            if now != then:
                self.files.diff.append(
                    {"before_header": "kernel", "after_header": "kernel", "before": now + "\n", "after": then + "\n"}
                )
            if not self._module.check_mode:
                self._apply(manager, before, timeout)
        # Only now: as long as the address is not the node's own, cloud-init may still be needed.
        if Path("/etc/cloud").is_dir():
            self.files.put(CLOUD_CONF, CLOUD_NETWORK_OFF)
        return manager.name

    def _leave_containers_alone(self) -> None:
        """Take the interfaces of Docker and of pods out of NetworkManager's hands."""
        if self._module.check_mode:
            self.files.put(NM_CONF, NM_UNMANAGED)
            return
        if read_text(NM_CONF) != NM_UNMANAGED:
            # A run that is killed between here and the reload leaves this behind, and the next run reloads.
            Path(NM_PENDING).touch()
        self.files.put(NM_CONF, NM_UNMANAGED)
        if Path(NM_PENDING).exists():
            self.run("nmcli", "general", "reload", "conf")
            Path(NM_PENDING).unlink()

    def _apply(self, manager: Manager, before: str | None, timeout: int) -> None:
        former = manager.active()
        try:
            manager.apply()
            self._wait(timeout)
        except ValueError as error:
            try:
                if before is None:
                    self.files.remove(manager.path)
                else:
                    self.files.put(manager.path, before, 0o600)
            except OSError as second:
                raise ValueError(f"{error}; the files could not be put back: {card_trouble(second)}") from error
            try:
                manager.back(former)
            except ValueError as second:
                raise ValueError(
                    f"{error}; the files were put back, but not in force: {second}; a reboot does that"
                ) from error
            Path(PENDING).unlink(missing_ok=True)
            raise ValueError(f"{error}; everything was put back as it was") from error
        Path(PENDING).unlink(missing_ok=True)

    def _wait(self, timeout: int) -> None:
        deadline = time.monotonic() + timeout
        while True:
            live, gateways = self.live()
            if is_there(self._wanted, live, gateways):
                return
            if time.monotonic() > deadline:
                raise ValueError(
                    f"{self._wanted.interface} did not get {self._wanted.address.with_prefixlen} static via "
                    f"{self._wanted.gateway} within {timeout} s "
                    f"(it has {describe(self._wanted, live, gateways)})"
                )
            time.sleep(0.2)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "interface": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "prefix": {"type": "int", "required": True},
            "gateway": {"type": "str", "required": True},
            "dns": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        wanted = make_wanted(
            options["interface"], options["address"], options["prefix"], options["gateway"], options["dns"]
        )
        node = Node(module, wanted)
        name = node.converge(options["timeout"])
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    module.exit_json(changed=node.files.changed, diff=node.files.diff, manager=name)


if __name__ == "__main__":
    main()
