# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What keeps a node's clock right from now on: the installed program, or systemd-timesyncd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.identity.clock import in_container
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node
    from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages

TIMESYNCD = "systemd-timesyncd.service"
# Who installed another program had a reason: it goes before the one that every image has.
KEEPERS = ("chrony.service", "ntpsec.service", "ntp.service", "openntpd.service", TIMESYNCD)
DROPIN = "/etc/systemd/timesyncd.conf.d/picluster.conf"


def dropin_text(servers: Sequence[str]) -> str:
    """Return the drop-in with these servers; its empty assignment removes those of the image."""
    return f"# Written by picluster (role identity, identity_ntp_servers).\n[Time]\nNTP=\nNTP={' '.join(servers)}\n"


def keeper(units: Mapping[str, Mapping[str, str]]) -> str | None:
    """Return the unit that keeps the clock, or None if there is none.

    Raises:
        UserError: the only one is masked.
    """
    found = next((name for name in KEEPERS if units[name]["LoadState"] == "loaded"), None)
    masked = next((name for name in KEEPERS if units[name]["LoadState"] == "masked"), None)
    if found is None and masked:
        raise UserError(f"the clock is not kept: {masked} is masked; run: systemctl unmask {masked}")
    return found


class TimeSync:
    """The node's time synchronization."""

    def __init__(self, node: Node, packages: Packages) -> None:
        self._node = node
        self._packages = packages

    def converge(self, servers: Sequence[str]) -> str:
        """Synchronize the clock with these servers or, if there are none, with the image's; return the unit.

        Raises:
            UserError: it cannot be synchronized.
        """
        units = self._node.units.show(*KEEPERS)
        unit = keeper(units)
        if unit is None:
            self._packages.install([TIMESYNCD.removesuffix(".service")])
            if self._node.check_mode:
                return TIMESYNCD
            units = self._node.units.show(*KEEPERS)
            unit = TIMESYNCD
        if servers and unit != TIMESYNCD:
            raise UserError(
                f"ntp_servers has no effect: {unit} keeps this node's clock, not systemd-timesyncd; set the servers in "
                "its configuration, or remove it and run the playbook again"
            )
        files = self._node.files
        fresh = files.put(DROPIN, dropin_text(servers)) if servers else files.remove(DROPIN)
        self._start(unit, units[unit], servers, fresh=fresh)
        return unit

    def _start(self, unit: str, state: dict[str, str], servers: Sequence[str], *, fresh: bool) -> None:
        # Units of other states, such as generated and alias, cannot be enabled.
        if state.get("UnitFileState") == "disabled":
            self._node.units.enable(unit, state)
        if state.get("ActiveState") == "active":
            # The second for a run that was killed after it wrote the drop-in.
            if fresh or self._has_other_servers(servers):
                self._node.units.restart(unit, "other time servers")
        elif not in_container(self._node):
            # In a container its condition prevents it from running: the clock is the host's.
            self._node.units.start(unit, state)

    def _has_other_servers(self, servers: Sequence[str]) -> bool:
        """Return whether the running timesyncd has not read our servers; without servers it is not queried."""
        if not servers:
            return False
        out = self._node.query("timedatectl", "show-timesync", "--property=SystemNTPServers", "--value")
        return out.split() != list(servers)
