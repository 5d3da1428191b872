# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A node's clock, set by the controller's where it is far off: a Raspberry Pi up to 4 has none that runs on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles

# Seconds that a clock may be off: apt and TLS do not mind.
TOLERANCE = 60
# A restart takes the time from there: Raspberry Pi OS to 12 has the one, a Pi 5 with a battery the other.
_KEEPS = (("fake-hwclock", "save", "force"), ("hwclock", "--systohc"))
# systemd-timesyncd starts from this file's date where the board has no clock (systemd-timesyncd.service(8)).
SAVED = "/var/lib/systemd/timesync/clock"
_UNITS = (("years", 365.25 * 86400), ("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))


def spoken(off: float) -> str:
    """Return in words how far a clock is off, such as `2 years behind the controller's`.

    Args:
        off: in seconds; negative if the clock is behind.
    """
    size = abs(off)
    name, unit = next(((name, unit) for name, unit in _UNITS if round(size / unit) > 1), ("seconds", 1.0))
    return f"{round(size / unit)} {name} {'behind' if off < 0 else 'ahead of'} the controller's"


def certainly_off(clock: float, asked: float, answered: float) -> bool:
    """Whether a clock is off, however long the question or the answer was on its way.

    Args:
        clock: what it said.
        asked: the right time when it was asked.
        answered: the right time when the answer was there.
    """
    return not asked - TOLERANCE <= clock <= answered + TOLERANCE


def in_container(module: AnsibleModule) -> bool:
    """Whether this node is a container, which has its host's clock."""
    rc, _out, _err = module.run_command(["systemd-detect-virt", "--container", "--quiet"])
    return bool(rc == 0)


class Clock:
    """The node's clock.

    Attributes:
        off: how many seconds it was off, 0 if it was not by more than TOLERANCE.
        was_set: whether it was set, or in check mode would be.
    """

    def __init__(self, module: AnsibleModule, files: TextFiles) -> None:
        self._module = module
        self._files = files
        # As near to the controller's question as can be, whatever else is done before it is answered.
        self._reading = {"clock": time.time(), "uptime": time.monotonic()}
        self.off = 0
        self.was_set = False

    def doubt(self, controller: float) -> dict[str, float]:
        """Return clock and uptime as they were when this module began, if the clock may be off; else nothing.

        The controller's time is as old as its way to here was long, which only the controller can tell: by this time
        alone a right clock would be set back.

        Args:
            controller: seconds since 1970 on the controller when it started this module.
        """
        return self._reading if certainly_off(self._reading["clock"], controller, controller) else {}

    def set_right(self, controller: float, uptime: float) -> None:
        """Have the controller's time, if this node's is far off and nobody better keeps it.

        Args:
            controller: seconds since 1970 on the controller at a moment that both know.
            uptime: that moment, as this node's uptime in `doubt`.

        Raises:
            ValueError: the clock is off and cannot be set here; the message is one sentence.
        """
        if time.monotonic() < uptime:
            raise ValueError("this node was restarted while its clock was asked for: run again")
        # At uptime 0.
        start = controller - uptime
        off = time.time() - (start + time.monotonic())
        if abs(off) <= TOLERANCE:
            return
        self.off = round(off)
        if in_container(self._module):
            raise ValueError(
                f"the clock of this node is {spoken(off)}, and as a container it has the clock of its host: set the "
                "host's right"
            )
        if self._synchronized():
            self._module.warn(
                f"this node's clock is kept by time servers and {spoken(off)}, which was not believed: look at the "
                "controller's clock"
            )
            return
        self._note(off, start + time.monotonic())
        self.was_set = True
        if not self._module.check_mode:
            self._set(off, start)

    def _synchronized(self) -> bool:
        _rc, out, _err = self._module.run_command(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
        return str(out).strip() == "yes"

    def _note(self, off: float, right: float) -> None:
        before, after = (f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(when))} UTC\n" for when in (right + off, right))
        self._files.diff.append({"before_header": "clock", "after_header": "clock", "before": before, "after": after})

    def _set(self, off: float, start: float) -> None:
        try:
            time.clock_settime(time.CLOCK_REALTIME, start + time.monotonic())
        except PermissionError as error:
            raise ValueError(
                f"the clock of this node is {spoken(off)} and must not be set here (no CAP_SYS_TIME): set it right "
                "from outside"
            ) from error
        self._module.warn(f"this node's clock was {spoken(off)} and has been set by it")
        if Path(SAVED).exists():
            # From the future, it would bring the wrong time back at the next start of the node.
            os.utime(SAVED)
        for command in _KEEPS:
            if self._module.get_bin_path(command[0]):
                # Where there is no such clock it says so, and nothing is lost.
                self._module.run_command(list(command))
