# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node's clock: set to the controller's time where it is far off, and kept right from then on.

A Raspberry Pi up to 4 has no battery clock.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node
    from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages

# Seconds that a clock may be off: apt and TLS tolerate that.
TOLERANCE = 60
# A restart takes the time from there: Raspberry Pi OS up to 12 has the first, a Pi 5 with a battery the second.
_SAVE_COMMANDS = (("fake-hwclock", "save", "force"), ("hwclock", "--systohc"))
# systemd-timesyncd starts from this file's date where the board has no clock (systemd-timesyncd.service(8)).
SAVED = "/var/lib/systemd/timesync/clock"
TIMESYNCD = "systemd-timesyncd.service"
# Who installed another program had a reason: it goes before the one that every image has.
KEEPERS = ("chrony.service", "ntpsec.service", "ntp.service", "openntpd.service", TIMESYNCD)
DROPIN = "/etc/systemd/timesyncd.conf.d/picluster.conf"
_UNITS = (("years", 365.25 * 86400), ("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))


def describe_offset(offset: float) -> str:
    """Return in words how many seconds a clock is off (negative if it is behind): `2 years behind the controller's`."""
    size = abs(offset)
    name, unit = next(((name, unit) for name, unit in _UNITS if round(size / unit) > 1), ("seconds", 1.0))
    return f"{round(size / unit)} {name} {'behind' if offset < 0 else 'ahead of'} the controller's"


def certainly_off(clock: float, asked: float, answered: float) -> bool:
    """Return whether a clock is off, however long it took from `asked` to `answered`, both by the right clock."""
    return not asked - TOLERANCE <= clock <= answered + TOLERANCE


def in_container(node: Node) -> bool:
    """Return whether this node is a container, which shares its host's clock."""
    return node.run("systemd-detect-virt", "--container", "--quiet").ok


class Clock:
    """The node's clock.

    Attributes:
        offset: Seconds that it was off, 0 if not by more than TOLERANCE.
        was_set: Whether it was set, or in check mode would be.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        # As near to the controller's query as possible, whatever else happens before the answer.
        self._reading = {"clock": time.time(), "uptime": time.monotonic()}
        self.offset = 0
        self.was_set = False

    def doubt(self, controller: float) -> dict[str, float]:
        """Return clock and uptime as they were when this module began, if the clock may be off; else nothing.

        The controller's time (seconds since 1970, when it started this module) is outdated by the time that it took to
        get here, which only the controller can measure: by this time alone a right clock would be set back.
        """
        return self._reading if certainly_off(self._reading["clock"], controller, controller) else {}

    def correct(self, controller: float, uptime: float) -> None:
        """Set the clock to the controller's time if it is far off and no time server keeps it.

        `controller` is in seconds since 1970, at this node's `uptime` as in `doubt`. Raises UserError if the clock is
        off and cannot be set here.
        """
        if time.monotonic() < uptime:
            raise UserError("the clock cannot be checked: the node restarted in the meantime; run the playbook again")
        # At uptime 0.
        start = controller - uptime
        offset = time.time() - (start + time.monotonic())
        if abs(offset) <= TOLERANCE:
            return
        self.offset = round(offset)
        if in_container(self._node):
            raise UserError(
                f"the clock is wrong: it is {describe_offset(offset)}, and a container uses the clock of its host; "
                "set the clock of the host"
            )
        if self._node.run("timedatectl", "show", "--property=NTPSynchronized", "--value").out.strip() == "yes":
            self._node.warn(
                f"this node's clock is synchronized with time servers and {describe_offset(offset)}; it was left "
                "alone: check the controller's clock"
            )
            return
        right = start + time.monotonic()
        times = (time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when)) for when in (right + offset, right))
        self._node.note("clock", *times)
        self.was_set = True
        if not self._node.check_mode:
            self._set(offset, start)

    def _set(self, offset: float, start: float) -> None:
        try:
            time.clock_settime(time.CLOCK_REALTIME, start + time.monotonic())
        except PermissionError as error:
            raise UserError(
                f"the clock is wrong: it is {describe_offset(offset)} and must not be set here (no CAP_SYS_TIME); set "
                "it from outside"
            ) from error
        self._node.warn(f"this node's clock was {describe_offset(offset)} and has been set by it")
        saved = self._node.path(SAVED)
        if saved.exists():
            # A date in the future would bring the wrong time back at the next start of the node.
            os.utime(saved)
        for command in _SAVE_COMMANDS:
            # Fails where there is no such clock, and then nothing is lost.
            self._node.run(*command)


def dropin_text(servers: Sequence[str]) -> str:
    """Return the drop-in with these servers; its empty assignment removes those of the image."""
    return f"# Written by picluster (role identity, identity_ntp_servers).\n[Time]\nNTP=\nNTP={' '.join(servers)}\n"


def keeper(units: Mapping[str, Mapping[str, str]]) -> str | None:
    """Return the unit that keeps the clock, or None if there is none; raise UserError if the only one is masked."""
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
        """Synchronize the clock with these servers, or with the image's; return the unit, or raise UserError."""
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
            query = ("timedatectl", "show-timesync", "--property=SystemNTPServers", "--value")
            # The second for a run that was killed after it wrote the drop-in; without servers it is not queried.
            if fresh or (servers and self._node.query(*query).split() != list(servers)):
                self._node.units.restart(unit, "other time servers")
        elif not in_container(self._node):
            # In a container its condition prevents it from running: the clock is the host's.
            self._node.units.start(unit, state)
