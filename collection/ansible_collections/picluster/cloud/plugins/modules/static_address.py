#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Give a node its static address, also another one than it has, without ever losing it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: static_address
short_description: A node's static IPv4 address
description:
  - Gives a node its static address, at once and at every later boot, and moves it there from any other one, in the
    same subnet or in another.
  - Writes a netplan drop-in where netplan is in use (Raspberry Pi OS Trixie, Ubuntu), a NetworkManager profile
    where there is none (Raspberry Pi OS Bookworm), a marked block of /etc/dhcpcd.conf where dhcpcd runs (Bullseye).
    The drop-in is tried out in a copy of all of netplan's files before it is written.
  - Nothing is changed if another machine has the address, or if the router does not answer; both are asked by ARP.
  - The former address stays usable beside the new one until the controller has logged in at the new one, which the
    action plugin of the same name does. Without that login, and after a power cut before it, everything is as it was.
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
  search:
    description: Domains in which short names are looked up.
    type: list
    elements: str
    default: []
  wait_for_address:
    description: Seconds to wait for another machine that has the address and is just leaving it.
    type: int
    default: 15
  timeout:
    description: Seconds until the kernel must have the address.
    type: int
    default: 30
extends_documentation_fragment: [picluster.cloud.confirmed]
attributes:
  check_mode:
    support: full
    description: Tries the files out, says what would change and changes nothing. Asks nobody on the network.
  diff_mode:
    support: full
    description: Shows the files and the kernel's address before and after.
  idempotent:
    support: full
    description: A second call changes nothing.
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Give the node its address
  picluster.cloud.static_address:
    interface: eth0
    address: 192.168.63.11
    prefix: 24
    gateway: 192.168.63.1
    dns: [192.168.63.1]
"""

RETURN = r"""
manager:
  description: Who has the interface - netplan and its renderer, NetworkManager alone, or dhcpcd.
  returned: success
  type: str
  sample: netplan with NetworkManager
address:
  description: The node's address.
  returned: success
  type: str
  sample: 192.168.63.11
moved:
  description: Whether the node has left the address that this call came to. From now on it is reached at RV(address).
  returned: success
  type: bool
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import ARGUMENTS, Rollback, check_window
from ansible_collections.picluster.cloud.plugins.module_utils.network.address import (
    CLOUD_NETWORK_OFF,
    NM_UNMANAGED,
    Live,
    Wanted,
    check_patience,
    describe,
    forget_former,
    former_address,
    is_there,
    keep_former,
    keep_plainly,
    make_wanted,
    parse_addresses,
    parse_gateways,
    return_to_former,
    wrong_interface,
)
from ansible_collections.picluster.cloud.plugins.module_utils.network.arp import (
    Socket,
    announce,
    find_router,
    wait_until_free,
)
from ansible_collections.picluster.cloud.plugins.module_utils.network.managers import Manager, choose, known_managers
from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node as Kit
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles, card_trouble, read_text

NAME = "address"
WISH = ("interface", "address", "prefix", "gateway", "dns", "search")
NM_CONF = "/etc/NetworkManager/conf.d/90-picluster-containers.conf"
# Lies in /run, so that it is gone after a reboot, which puts the file in force anyway.
NM_PENDING = "/run/picluster-networkmanager-reload"
CLOUD_CONF = "/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg"


class Node:
    """The node's network, as far as this module touches it."""

    def __init__(self, module: AnsibleModule, wanted: Wanted, server: str = "") -> None:
        self._module = module
        self._wanted = wanted
        self._server = server
        self._rollback = Rollback(Kit(module), NAME)
        self.files = TextFiles(module)
        self.moved = False
        self.confirm: dict[str, Any] | None = None

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
        problem = wrong_interface(self._wanted, self.live()[0], interfaces)
        if problem:
            raise ValueError(problem)
        if (Path("/sys/class/net") / self._wanted.interface / "wireless").exists():
            raise ValueError(
                f"{self._wanted.interface} is a wireless interface, for which there is no static address yet: "
                "set node_interface to a wired one"
            )
        return choose(self._wanted, known_managers(self.run, self._wanted.interface), self.run)

    def converge(self) -> str:
        """Bring files and kernel to the wanted address; return who manages it."""
        check_window(self._module.params["confirm_within"])
        check_patience(self._module.params["wait_for_address"])
        unconfirmed = self._finish()
        manager = self.manager()
        live, gateways = self.live()
        manager.try_out()
        if manager.has_nm:
            self._leave_containers_alone()
        if unconfirmed or read_text(manager.path) != manager.text or not is_there(self._wanted, live, gateways):
            self._replace(manager, live, gateways)
        else:
            # Its mode.
            self.files.put(manager.path, manager.text, manager.mode, owner=manager.owner)
            self._silence_cloud_init()
        return manager.name

    def _finish(self) -> bool:
        """Finish what an earlier run has begun; say whether an address still waits for its confirmation.

        Where the controller came to the former address, the node goes back to that first: two addresses to leave would
        be one too many.
        """
        found = self._rollback.state()
        if found is None or self._module.check_mode:
            return found is not None
        if found.restoring or self._server != str(self._wanted.address.ip):
            self._rollback.undo()
            return False
        return True

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

    def _silence_cloud_init(self) -> None:
        if Path("/etc/cloud").is_dir():
            self.files.put(CLOUD_CONF, CLOUD_NETWORK_OFF)

    def _replace(self, manager: Manager, live: list[Live], gateways: set[str]) -> None:
        """Put the address in force, until it is confirmed or the node goes back."""
        now = describe(self._wanted, live, gateways)
        then = f"{self._wanted.address.with_prefixlen} static via {self._wanted.gateway}"
        if now != then:
            headers = {"before_header": "kernel", "after_header": "kernel"}
            self.files.diff.append({**headers, "before": now + "\n", "after": then + "\n"})
        if self._module.check_mode:
            self._write(manager)
            return
        former = former_address(self._wanted, live, self._server)
        self._ask_the_wire(live, gateways)
        self._arm(manager, former)
        try:
            self._write(manager)
            manager.apply(moving=former is not None)
            if former:
                self._keep(former, gateways)
            self._wait(self._module.params["timeout"])
            announce(Socket(self._wanted.interface), self._wanted.address.ip)
        except (ValueError, OSError) as error:
            what = card_trouble(error) if isinstance(error, OSError) else str(error)
            try:
                self._rollback.undo()
            except ValueError as second:
                raise ValueError(f"{what}; {second}") from error
            raise ValueError(f"{what}; everything was put back as it was") from error
        self.moved = former is not None

    def _write(self, manager: Manager) -> None:
        self.files.put(manager.path, manager.text, manager.mode, owner=manager.owner)
        self._silence_cloud_init()

    def _ask_the_wire(self, live: list[Live], gateways: set[str]) -> None:
        """Make sure that nobody has the address, and that the router is there, unless the node lives with both."""
        interface, address, router = self._wanted.interface, self._wanted.address.ip, self._wanted.gateway
        wire = Socket(interface)
        if not any(one.address == str(address) for one in live):
            wait_until_free(wire, interface, address, self._module.params["wait_for_address"])
        if str(router) not in gateways:
            find_router(wire, interface, router, address)

    def _arm(self, manager: Manager, former: Live | None) -> None:
        # Armed already, the older state is the one that comes back; a checkpoint of now would bring the newer one.
        checkpoint = "" if self._rollback.state() else manager.checkpoint()
        confirm = self._rollback.arm(
            self._module.params["confirm_within"],
            self._module.params["confirm_token"],
            [manager.path, *([CLOUD_CONF] if Path("/etc/cloud").is_dir() else [])],
            [*manager.back(manager.active(), checkpoint), *([return_to_former(former)] if former else [])],
            at_boot=manager.at_boot(),
            at_confirm=[*manager.at_confirm(checkpoint), *([forget_former(former)] if former else [])],
        )
        self.confirm = confirm | ({"host": str(self._wanted.address.ip)} if former else {})

    def _keep(self, former: Live, gateways: set[str]) -> None:
        """Leave the former address usable: the answer of this very call goes out from it."""
        try:
            for command in keep_former(former, gateways):
                self.run(*command)
        except ValueError:
            self.run(*keep_plainly(former))

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
            "search": {"type": "list", "elements": "str", "default": []},
            "wait_for_address": {"type": "int", "default": 15},
            "timeout": {"type": "int", "default": 30},
            **ARGUMENTS,
        },
        supports_check_mode=True,
    )
    # The connection may hang up while the address changes; what is begun is ended all the same.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    connection = current_connection()
    try:
        wanted = make_wanted(**{key: module.params[key] for key in WISH})
        node = Node(module, wanted, connection.server if connection else "")
        with Rollback(Kit(module), NAME).alone():
            name = node.converge()
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    result: dict[str, Any] = {"manager": name, "address": str(wanted.address.ip), "moved": node.moved}
    if node.confirm:
        result["confirm"] = node.confirm
    module.exit_json(changed=node.files.changed, diff=node.files.diff, **result)


if __name__ == "__main__":
    main()
