# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node's clock, set to the controller's time where it is far off: a Raspberry Pi up to 4 has no battery clock."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

# Seconds that a clock may be off: apt and TLS tolerate that.
TOLERANCE = 60
# A restart takes the time from there: Raspberry Pi OS up to 12 has the first, a Pi 5 with a battery the second.
_SAVE_COMMANDS = (("fake-hwclock", "save", "force"), ("hwclock", "--systohc"))
# systemd-timesyncd starts from this file's date where the board has no clock (systemd-timesyncd.service(8)).
SAVED = "/var/lib/systemd/timesync/clock"
_UNITS = (("years", 365.25 * 86400), ("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))


def describe_offset(offset: float) -> str:
    """Return in words how far a clock is off, such as `2 years behind the controller's`.

    Args:
        offset: In seconds; negative if the clock is behind.
    """
    size = abs(offset)
    name, unit = next(((name, unit) for name, unit in _UNITS if round(size / unit) > 1), ("seconds", 1.0))
    return f"{round(size / unit)} {name} {'behind' if offset < 0 else 'ahead of'} the controller's"


def certainly_off(clock: float, asked: float, answered: float) -> bool:
    """Return whether a clock is off, however long the query or the answer took.

    Args:
        clock: What it showed.
        asked: The right time when the query was sent.
        answered: The right time when the answer arrived.
    """
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

        The controller's time is outdated by the time that it took to get here, which only the controller can measure:
        by this time alone a right clock would be set back.

        Args:
            controller: Seconds since 1970 on the controller when it started this module.
        """
        return self._reading if certainly_off(self._reading["clock"], controller, controller) else {}

    def correct(self, controller: float, uptime: float) -> None:
        """Set the clock to the controller's time if it is far off and no time server keeps it.

        Args:
            controller: Seconds since 1970 on the controller at a moment that both know.
            uptime: That moment, as this node's uptime in `doubt`.

        Raises:
            UserError: the clock is off and cannot be set here.
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
        if self._is_synchronized():
            self._node.warn(
                f"this node's clock is synchronized with time servers and {describe_offset(offset)}; it was left "
                "alone: check the controller's clock"
            )
            return
        self._note(offset, start + time.monotonic())
        self.was_set = True
        if not self._node.check_mode:
            self._set(offset, start)

    def _is_synchronized(self) -> bool:
        return self._node.run("timedatectl", "show", "--property=NTPSynchronized", "--value").out.strip() == "yes"

    def _note(self, offset: float, right: float) -> None:
        times = (time.strftime("%Y-%m-%d %H:%M", time.gmtime(when)) for when in (right + offset, right))
        before, after = (f"{when} UTC" for when in times)
        self._node.note("clock", before, after)

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
