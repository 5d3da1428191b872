# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The node's systemd units: read their state, bring them to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

STATE = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")


def parse_show(output: str) -> list[dict[str, str]]:
    """Return the properties of each unit from the output of `systemctl show`: one block each, in order."""
    blocks = ([line.partition("=") for line in block.splitlines()] for block in output.strip().split("\n\n"))
    return [{key: value for key, sign, value in block if sign} for block in blocks]


class Units:
    """The node's systemd units.

    Names are full (docker.service). All changes are in the node's diff, and none happens in check mode.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def show(self, *names: str, properties: Sequence[str] = STATE) -> dict[str, dict[str, str]]:
        """Return properties by unit; a unit that does not exist has the LoadState not-found.

        Raises:
            UserError: systemd does not answer.
        """
        found = parse_show(self._node.query("systemctl", "show", *names, f"--property={','.join(properties)}"))
        return dict(zip(names, found))  # noqa: B905 - Python 3.9 knows no strict; systemctl answers for each

    def reload_daemon(self) -> None:
        """Have systemd read its unit files again."""
        self._node.change("systemctl", "daemon-reload")

    def reload_daemon_if_needed(self, *names: str) -> None:
        """Have systemd read its unit files again if one of these is out of date.

        Queried, not concluded from what this call wrote: an earlier run may have been killed after it wrote.
        """
        if any(unit.get("NeedDaemonReload") == "yes" for unit in self.show(*names).values()):
            self._node.note("systemd", "outdated unit files", "daemon-reload")
            self.reload_daemon()

    def enable(self, name: str, state: dict[str, str] | None = None) -> bool:
        """Have a unit start at boot; return whether it was not so.

        Args:
            name: The unit.
            state: What show() returned for it, if that is known.
        """
        found = (state or self.show(name)[name]).get("UnitFileState", "")
        if found == "enabled":
            return False
        self._node.note(name, found, "enabled")
        if found.startswith("masked"):
            self._node.change("systemctl", "unmask", name)
        self._node.change("systemctl", "enable", name)
        return True

    def start(self, name: str, state: dict[str, str] | None = None) -> bool:
        """Have a unit running; return whether it was not.

        Args:
            name: The unit.
            state: What show() returned for it, if that is known.
        """
        found = (state or self.show(name)[name]).get("ActiveState", "")
        if found == "active":
            return False
        self._node.note(name, found, "active")
        self._node.change("systemctl", "start", name)
        return True

    def restart(self, name: str, reason: str, *, wait: bool = True) -> None:
        """Restart a unit, for a reason that the diff shows.

        Args:
            name: The unit.
            reason: Its former state, or what changed.
            wait: Whether to wait until it has started; some wait there for a service of another node.
        """
        self._node.note(name, reason, "restarted")
        self._node.change("systemctl", "restart", *([] if wait else ["--no-block"]), name)

    def disable(self, *names: str) -> None:
        """Stop units and have them stopped at boot."""
        for name in names:
            self._node.note(name, "enabled and running", "disabled and stopped")
        self._node.change("systemctl", "disable", "--now", *names)
