# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""dhcpcd as the manager of an interface (Raspberry Pi OS up to Bullseye): two marked blocks in its one file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import AddressSettings
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

CONF = "/etc/dhcpcd.conf"
# k3s#2599: flannel.1 has incompatible addresses where dhcpcd touched it. Adds to a line that the user has.
CONTAINERS = "denyinterfaces veth* docker* br-* cni* flannel* cali*"
_UNIT = "dhcpcd.service"
_BEGIN, _END = "# BEGIN picluster (role network)", "# END picluster (role network)"
_BLOCK = re.compile(rf"^{re.escape(_BEGIN)}\n.*?^{re.escape(_END)}\n", re.MULTILINE | re.DOTALL)


def conf_text(before: str, settings: AddressSettings) -> str:
    """Return dhcpcd's file with the desired address and the user's lines unchanged.

    Options for all interfaces come first: after any line `interface` they would be that interface's (dhcpcd.conf(5)).
    The address comes last, where it wins over another block for the same interface.
    """
    rest = _BLOCK.sub("", before)
    if rest and not rest.endswith("\n"):
        rest += "\n"
    address = [
        f"interface {settings.interface}",
        f"static ip_address={settings.address.with_prefixlen}",
        f"static routers={settings.gateway}",
        f"static domain_name_servers={' '.join(settings.dns)}",
        f"static domain_search={' '.join(settings.search)}",
    ]
    # dhcpcd rejects an empty value.
    lines = [line for line in address if not line.endswith("=")]
    return f"{_block([CONTAINERS])}{rest}{_block(lines)}"


def _block(lines: list[str]) -> str:
    return "\n".join([_BEGIN, *lines, _END]) + "\n"


class Dhcpcd:
    """dhcpcd alone."""

    name = "dhcpcd"
    path = CONF
    has_nm = False

    def __init__(self, settings: AddressSettings, node: Node) -> None:
        self._node = node
        self._interface = settings.interface
        self.text = conf_text(node.files.read(CONF) or "", settings)
        status = node.path(CONF).stat()
        # Raspbian's group netdev may write it.
        self.mode = status.st_mode & 0o7777
        self.owner: tuple[int, int] | None = (status.st_uid, status.st_gid)

    def try_out(self) -> None:
        """Do nothing: dhcpcd has no dry run, and reports errors only in its journal."""

    def active(self) -> str:
        """Return nothing to remember: dhcpcd follows its file."""
        return ""

    def apply(self, *, moving: bool) -> None:  # noqa: ARG002 - the interface of a manager
        """Restart dhcpcd.

        `dhcpcd -n` would do it for this interface alone, but 9.4.1 accepts that only once ("cannot handle another
        client").
        """
        for command in self._commands():
            self._node.change(*command)

    def checkpoint(self) -> str:
        """Return none: dhcpcd has nothing but its file."""
        return ""

    def at_confirm(self, checkpoint: str) -> list[list[str]]:  # noqa: ARG002 - the interface of a manager
        """Return no command."""
        return []

    def back(self, former: str, checkpoint: str) -> list[list[str]]:  # noqa: ARG002 - the interface of a manager
        """Return the commands that restart dhcpcd with the former file."""
        return self._commands()

    def at_boot(self) -> list[list[str]]:
        """Return no command: dhcpcd reads its file when it starts."""
        return []

    def _commands(self) -> list[list[str]]:
        # The option `persistent`, which Raspbian sets, leaves the former address on the interface.
        flush = ["ip", "-4", "address", "flush", "dev", self._interface]
        return [["systemctl", "stop", _UNIT], flush, ["systemctl", "start", _UNIT]]
