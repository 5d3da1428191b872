# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The node's unattended updates: package, configuration, timers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages
from ansible_collections.picluster.cloud.plugins.module_utils.updates import policy

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

PACKAGE = "unattended-upgrades"
# Says that picluster installed the package; one that was there before is never removed.
MARK = "/var/lib/picluster/updates"
NEEDRESTART_CONF = "/etc/needrestart/needrestart.conf"
TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")


class UnattendedUpdates:
    """The node's unattended updates."""

    def __init__(self, node: Node, lock_timeout: int) -> None:
        """Wait up to `lock_timeout` seconds for another program's lock.

        Raises:
            UserError: lock_timeout is out of range.
        """
        self._node = node
        self._packages = Packages(node, lock_timeout)

    def enable(self, desired: policy.UpdatePolicy) -> None:
        """Install updates daily.

        Raises:
            UserError: apt refuses, or another file overrides the policy.
        """
        # Before the package, which would otherwise start with its own configuration.
        self._node.files.put(policy.CONF, policy.conf_text(desired))
        if self._node.path(NEEDRESTART_CONF).exists():
            self._node.files.put(policy.NEEDRESTART, policy.NEEDRESTART_TEXT)
        if missing := self._packages.missing([PACKAGE]):
            # First, so that the package of a run that is killed still has an owner.
            self._node.files.put(MARK, f"{PACKAGE}\n")
            self._packages.install(missing)
        # In check mode apt does not see the new file.
        if not (self._node.check_mode and self._node.changed):
            problem = policy.contradiction(desired, self._node.query("apt-config", "dump"))
            if problem:
                raise UserError(problem)
        for timer, state in self._node.units.show(*TIMERS).items():
            # Some images disable or mask them.
            self._node.units.enable(timer, state)
            self._node.units.start(timer, state)

    def disable(self) -> None:
        """Remove what picluster installed and wrote.

        Raises:
            UserError: apt refuses.
        """
        # The package first: without our file it would follow Debian's list, which has more than security updates.
        if self._node.files.read(MARK) is not None:
            self._packages.remove(self._packages.installed([PACKAGE]))
            self._node.files.remove(MARK)
        self._node.files.remove(policy.CONF)
        self._node.files.remove(policy.NEEDRESTART)
