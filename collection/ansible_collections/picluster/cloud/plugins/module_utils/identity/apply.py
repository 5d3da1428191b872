# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that makes a node itself, in the order in which it depends on each other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.identity.clock import Clock
from ansible_collections.picluster.cloud.plugins.module_utils.identity.machine_id import MachineId
from ansible_collections.picluster.cloud.plugins.module_utils.identity.names import Names
from ansible_collections.picluster.cloud.plugins.module_utils.identity.region import Region
from ansible_collections.picluster.cloud.plugins.module_utils.identity.rules import check_arch, check_options
from ansible_collections.picluster.cloud.plugins.module_utils.identity.time_sync import TimeSync
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node


class Identity:
    """The node's clock, names, machine-id, time zone, locale and time synchronization."""

    def __init__(self, node: Node) -> None:
        self._node = node
        # Reads the clock, so it comes before everything that takes time.
        self._clock = Clock(node)

    def converge(self, options: dict[str, Any]) -> dict[str, Any]:
        """Converge the node; return the module's answer.

        Raises:
            UserError: an option is invalid, or the node cannot have what it says.
        """
        check_options(options)
        packages = Packages(self._node, options["lock_timeout"])
        arch = self._node.query("dpkg", "--print-architecture").strip()
        check_arch(options["hostname"], options["arch"], arch, os.uname().machine)
        time, uptime = options["controller_time"], options["controller_uptime"]
        if time is not None and uptime is None:
            reading = self._clock.doubt(time)
            if reading:
                return {"clock_reading": reading}
        # The clock first: without it neither apt nor TLS works.
        if uptime is not None:
            self._clock.correct(time, uptime)
        names = Names(self._node)
        names.set_hostname(options["hostname"])
        names.set_hosts(options["hosts"])
        machine_id = MachineId(self._node).converge(options["taken_machine_id"])
        region = Region(self._node, packages)
        region.set_timezone(options["timezone"])
        region.set_locale(options["locale"])
        return {
            "time_keeper": TimeSync(self._node, packages).converge(options["ntp_servers"]),
            "hostname": options["hostname"],
            "arch": arch,
            "clock_off": self._clock.offset,
            "clock_set": self._clock.was_set,
            "machine_id": machine_id,
            "mac": self._mac(options["interface"]),
        }

    def _mac(self, interface: str) -> str:
        """Return an interface's MAC, empty if there is no such interface."""
        return (self._node.files.read(f"/sys/class/net/{interface}/address") or "").strip()
