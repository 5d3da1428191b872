# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""dhcpcd as the manager of an interface (Raspberry Pi OS up to Bullseye): two marked blocks in its one file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible_collections.picluster.cloud.plugins.module_utils.network.plan import Wanted

    Run = Callable[..., str]

CONF = "/etc/dhcpcd.conf"
# k3s#2599: flannel.1 has incompatible addresses where dhcpcd touched it. Adds to a line that the user has.
CONTAINERS = "denyinterfaces veth* docker* br-* cni* flannel* cali*"
_UNIT = "dhcpcd.service"
_BEGIN, _END = "# BEGIN picluster (role network)", "# END picluster (role network)"
_BLOCK = re.compile(rf"^{re.escape(_BEGIN)}\n.*?^{re.escape(_END)}\n", re.MULTILINE | re.DOTALL)


def conf_text(before: str, wanted: Wanted) -> str:
    """Return dhcpcd's file with the wanted address, the user's lines as they are.

    What concerns all interfaces comes first: behind any line `interface` it would be that interface's (dhcpcd.conf(5)).
    The address comes last, where it wins over what another block for the same interface says.
    """
    rest = _BLOCK.sub("", before)
    if rest and not rest.endswith("\n"):
        rest += "\n"
    address = [
        f"interface {wanted.interface}",
        f"static ip_address={wanted.address.with_prefixlen}",
        f"static routers={wanted.gateway}",
        f"static domain_name_servers={' '.join(wanted.dns)}",
        f"static domain_search={' '.join(wanted.search)}",
    ]
    # A value that is not wanted stays out: an empty one is a mistake to dhcpcd.
    said = [line for line in address if not line.endswith("=")]
    return f"{_block([CONTAINERS])}{rest}{_block(said)}"


def _block(lines: list[str]) -> str:
    return "\n".join([_BEGIN, *lines, _END]) + "\n"


class Dhcpcd:
    """dhcpcd alone."""

    name = "dhcpcd"
    path = CONF
    has_nm = False

    def __init__(self, wanted: Wanted, run: Run) -> None:
        self._run = run
        self._interface = wanted.interface
        self.text = conf_text(read_text(CONF) or "", wanted)
        status = Path(CONF).stat()
        # Raspbian's group netdev may write it.
        self.mode = status.st_mode & 0o7777
        self.owner: tuple[int, int] | None = (status.st_uid, status.st_gid)

    def try_out(self) -> None:
        """Let dhcpcd read nothing: it has no dry run, and says what it does not understand in its journal only."""

    def active(self) -> str:
        """Nothing needs to be remembered: dhcpcd follows its file."""
        return ""

    def apply(self, *, moving: bool) -> None:  # noqa: ARG002  # the interface of a manager
        """Let dhcpcd start anew.

        `dhcpcd -n` would do it for this interface alone, but 9.4.1 takes that only once ("cannot handle another
        client").
        """
        for command in self._commands():
            self._run(*command)

    def checkpoint(self) -> str:
        """None: dhcpcd has nothing but its file."""
        return ""

    def at_confirm(self, checkpoint: str) -> list[list[str]]:  # noqa: ARG002  # the interface of a manager
        """Nothing."""
        return []

    def back(self, former: str, checkpoint: str) -> list[list[str]]:  # noqa: ARG002  # the interface of a manager
        """Do the same with the former file."""
        return self._commands()

    def at_boot(self) -> list[list[str]]:
        """Nothing: dhcpcd reads its file when it starts."""
        return []

    def _commands(self) -> list[list[str]]:
        # The option `persistent`, which Raspbian sets, leaves the address of before on the interface.
        flush = ["ip", "-4", "address", "flush", "dev", self._interface]
        return [["systemctl", "stop", _UNIT], flush, ["systemctl", "start", _UNIT]]
