# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Put a static address into effect, under a rollback, without ever losing the node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.network.arp import (
    Socket,
    announce,
    find_router,
    wait_until_free,
)
from ansible_collections.picluster.cloud.plugins.module_utils.network.managers import choose, known_managers
from ansible_collections.picluster.cloud.plugins.module_utils.network.plan import (
    CLOUD_NETWORK_OFF,
    NM_UNMANAGED,
    Live,
    check_interface,
    describe,
    forget_former,
    former_address,
    is_there,
    keep_former,
    keep_plainly,
    parse_addresses,
    parse_gateways,
    return_to_former,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.network.managers import Manager
    from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import AddressSettings
    from ansible_collections.picluster.cloud.plugins.module_utils.node.guard import Guard
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

NM_CONF = "/etc/NetworkManager/conf.d/90-picluster-containers.conf"
# In /run, so that a reboot removes it, which loads the file anyway.
NM_PENDING = "/run/picluster-networkmanager-reload"
CLOUD_CONF = "/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg"
_POLL_SECONDS = 0.2


class StaticAddress:
    """The node's static address."""

    def __init__(self, node: Node, settings: AddressSettings, guard: Guard, server: str = "") -> None:
        """Prepare for one call; `server` is the address that the controller connected to, empty if not known."""
        self._node = node
        self._settings = settings
        self._guard = guard
        self._server = server
        self._confirm: dict[str, Any] = {}
        self._moved = False

    def converge(self, options: dict[str, Any]) -> dict[str, Any]:
        """Bring files and kernel to the desired address; return the module's answer.

        Reads the options wait_for_address, timeout, confirm_within and confirm_token. Raises UserError if the node
        cannot have the address, and leaves the node as it was before.
        """
        unconfirmed = self._finish()
        live, gateways = self._live()
        manager = self._manager(live)
        manager.try_out()
        if manager.has_nm:
            self._unmanage_containers()
        right = self._node.files.read(manager.path) == manager.text and is_there(self._settings, live, gateways)
        if right and not unconfirmed:
            # Its mode, and cloud-init.
            self._write(manager)
        else:
            self._replace(manager, live, gateways, options, unconfirmed=unconfirmed)
        answer = {"manager": manager.name, "address": str(self._settings.address.ip), "moved": self._moved}
        return answer | ({"confirm": self._confirm} if self._confirm else {})

    def _live(self) -> tuple[list[Live], set[str]]:
        """Return the kernel's addresses, and its default routers on the interface."""
        return (
            parse_addresses(self._node.query("ip", "-j", "-4", "address", "show")),
            parse_gateways(self._node.query("ip", "-j", "-4", "route", "show", "default"), self._settings.interface),
        )

    def _manager(self, live: list[Live]) -> Manager:
        """Return the manager of the interface; raise UserError if the interface cannot be handled."""
        interfaces = self._node.path("/sys/class/net")
        check_interface(self._settings, live, sorted(path.name for path in interfaces.iterdir()))
        if (interfaces / self._settings.interface / "wireless").exists():
            raise UserError(
                f"interface is not supported: {self._settings.interface} is wireless; set interface to a wired one"
            )
        name = self._settings.interface
        return choose(known_managers(self._node, name), name)(self._settings, self._node)

    def _finish(self) -> bool:
        """Finish what an earlier run has begun; return whether an address still waits for its confirmation.

        If the controller came to the former address, the node goes back to that first: two addresses to leave would
        be one too many.
        """
        unconfirmed = self._guard.resume()
        if unconfirmed and not self._node.check_mode and self._server != str(self._settings.address.ip):
            self._guard.undo()
            return False
        return unconfirmed

    def _unmanage_containers(self) -> None:
        """Exclude the interfaces of Docker and of pods from NetworkManager."""
        pending = self._node.path(NM_PENDING)
        if self._node.files.read(NM_CONF) != NM_UNMANAGED and not self._node.check_mode:
            # If this run is killed before the reload, the next run reloads.
            pending.touch()
        self._node.files.put(NM_CONF, NM_UNMANAGED)
        if pending.exists():
            self._node.change("nmcli", "general", "reload", "conf")
            pending.unlink()

    def _write(self, manager: Manager) -> None:
        self._node.files.put(manager.path, manager.text, manager.mode, owner=manager.owner)
        if self._node.path("/etc/cloud").is_dir():
            self._node.files.put(CLOUD_CONF, CLOUD_NETWORK_OFF)

    def _replace(
        self, manager: Manager, live: list[Live], gateways: set[str], options: dict[str, Any], *, unconfirmed: bool
    ) -> None:
        """Put the address into effect, until it is confirmed or the node goes back."""
        before = describe(self._settings, live, gateways)
        if before != str(self._settings):
            self._node.note("kernel", before, str(self._settings))
        if self._node.check_mode:
            self._write(manager)
            return
        former = former_address(self._settings, live, self._server)
        self._probe(live, gateways, options["wait_for_address"])
        self._arm(manager, former, options, unconfirmed=unconfirmed)
        with self._guard.undo_on_failure():
            self._write(manager)
            manager.apply(moving=former is not None)
            # The answer of this very call leaves from the former address.
            if former and not all(self._node.run(*command).ok for command in keep_former(former, gateways)):
                self._node.change(*keep_plainly(former))
            self._wait(options["timeout"])
            announce(Socket(self._settings.interface), self._settings.address.ip)
        self._moved = former is not None

    def _probe(self, live: list[Live], gateways: set[str], seconds: int) -> None:
        """Make sure that the address is free and the router present, unless the node uses both already."""
        address, router = self._settings.address.ip, self._settings.gateway
        wire = Socket(self._settings.interface)
        if not any(one.address == str(address) for one in live):
            wait_until_free(wire, address, seconds)
        if str(router) not in gateways:
            find_router(wire, router, address)

    def _arm(self, manager: Manager, former: Live | None, options: dict[str, Any], *, unconfirmed: bool) -> None:
        # Armed already, the older state is the one that comes back; a checkpoint of now would restore the newer one.
        checkpoint = "" if unconfirmed else manager.checkpoint()
        cloud = [CLOUD_CONF] if self._node.path("/etc/cloud").is_dir() else []
        confirm = self._guard.arm(
            options["confirm_within"],
            options["confirm_token"],
            [manager.path, *cloud],
            [*manager.back(manager.active(), checkpoint), *([return_to_former(former)] if former else [])],
            at_boot=manager.at_boot(),
            at_confirm=[*manager.at_confirm(checkpoint), *([forget_former(former)] if former else [])],
        )
        self._confirm = confirm | ({"host": str(self._settings.address.ip)} if former else {})

    def _wait(self, timeout: int) -> None:
        deadline = time.monotonic() + timeout
        while True:
            live, gateways = self._live()
            if is_there(self._settings, live, gateways):
                return
            if time.monotonic() > deadline:
                raise UserError(
                    f"{self._settings.interface} did not get {self._settings} within {timeout} s: it has "
                    f"{describe(self._settings, live, gateways)}"
                )
            time.sleep(_POLL_SECONDS)
