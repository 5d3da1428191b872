# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What keeps a node's clock right from now on: the program that is there, or systemd-timesyncd."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.identity.clock import in_container
from ansible_collections.picluster.cloud.plugins.module_utils.node.commands import run_checked
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_packages import Apt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles

TIMESYNCD = "systemd-timesyncd.service"
# Who chose another program had a reason: it goes before the one that every image has.
KEEPERS = ("chrony.service", "ntpsec.service", "ntp.service", "openntpd.service", TIMESYNCD)
DROPIN = "/etc/systemd/timesyncd.conf.d/picluster.conf"
_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.(?!-)[A-Za-z0-9-]{1,63})*\.?")


def check_servers(servers: Sequence[str]) -> None:
    """Judge the names of time servers.

    Raises:
        ValueError: one is neither a host name nor an address; the message is one sentence.
    """
    for server in servers:
        if not _is_server(str(server)):
            raise ValueError(
                f"ntp_servers has {server!r}, wanted are host names or addresses of time servers such as "
                "ntp.example.org"
            )


def _is_server(server: str) -> bool:
    try:
        ipaddress.ip_address(server)
    except ValueError:
        # Digits and dots alone are an address that is none.
        return bool(_NAME.fullmatch(server)) and not re.fullmatch(r"[\d.]+", server)
    return True


def dropin_text(servers: Sequence[str]) -> str:
    """Return the drop-in with these servers, the first line of which takes the image's own away."""
    return f"# Written by picluster (role identity, identity_ntp_servers).\n[Time]\nNTP=\nNTP={' '.join(servers)}\n"


def parse_units(output: str) -> dict[str, dict[str, str]]:
    """Return the properties of each unit from what `systemctl show` says of several."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in output.split("\n\n")]
    return {block["Id"]: block for block in blocks if "Id" in block}


def keeper(units: Mapping[str, Mapping[str, str]]) -> str | None:
    """Return the unit that keeps the clock, or None if there is none.

    Raises:
        ValueError: there is one that somebody has masked; the message is one sentence.
    """
    loads = {name: units.get(name, {}).get("LoadState") for name in KEEPERS}
    found = next((name for name in KEEPERS if loads[name] == "loaded"), None)
    masked = next((name for name in KEEPERS if loads[name] == "masked"), None)
    if found is None and masked:
        raise ValueError(
            f"{masked} is masked, so that nothing keeps this node's clock right: systemctl unmask {masked}"
        )
    return found


class TimeSync:
    """The node's time synchronisation."""

    def __init__(self, module: AnsibleModule, files: TextFiles, lock_timeout: int) -> None:
        self._module = module
        self._files = files
        self._apt = Apt(module, lock_timeout)

    def converge(self, servers: Sequence[str]) -> str:
        """Have the clock kept right, by these servers or, if there are none, by the image's; return the unit.

        Raises:
            ValueError: it cannot be; the message is one sentence.
            OSError: the card takes nothing.
        """
        units = self._units()
        unit = keeper(units)
        if unit is None:
            self._note("packages", "", TIMESYNCD.removesuffix(".service"))
            if self._module.check_mode:
                return TIMESYNCD
            self._apt.install([TIMESYNCD.removesuffix(".service")], optional=set())
            units = self._units()
            unit = TIMESYNCD
        if servers and unit != TIMESYNCD:
            raise ValueError(
                f"identity_ntp_servers is for systemd-timesyncd, and this node's clock is kept by {unit}: name the "
                "servers in its configuration, or remove it and run again"
            )
        fresh = self._files.put(DROPIN, dropin_text(servers)) if servers else self._files.remove(DROPIN)
        self._switch_on(unit, units.get(unit, {}), fresh, servers)
        return unit

    def _units(self) -> dict[str, dict[str, str]]:
        properties = "--property=Id,LoadState,UnitFileState,ActiveState"
        return parse_units(self._run("systemctl", "show", properties, *KEEPERS))

    def _switch_on(self, unit: str, state: Mapping[str, str], fresh: bool, servers: Sequence[str]) -> None:  # noqa: FBT001 - what its one caller knows
        if state.get("UnitFileState") == "disabled":
            self._note(unit, "disabled", "enabled")
            self._change("systemctl", "enable", unit)
        active = state.get("ActiveState") == "active"
        if active and (fresh or self._other_servers(servers)):
            if not fresh:
                # A run was killed after it wrote the drop-in.
                self._note(unit, "other servers", " ".join(servers))
            self._change("systemctl", "restart", unit)
        elif not active and not in_container(self._module):
            # In a container its condition would not let it run: the clock is the host's.
            self._note(unit, state.get("ActiveState", ""), "active")
            self._change("systemctl", "restart", unit)

    def _other_servers(self, servers: Sequence[str]) -> bool:
        """Whether the running timesyncd has not read our servers; where there are none it is not asked."""
        if not servers:
            return False
        out = self._run("timedatectl", "show-timesync", "--property=SystemNTPServers", "--value")
        return out.split() != list(servers)

    def _change(self, *command: str) -> None:
        if not self._module.check_mode:
            self._run(*command)

    def _run(self, *command: str) -> str:
        return run_checked(self._module, *command)

    def _note(self, what: str, before: str, after: str) -> None:
        headers = {"before_header": what, "after_header": what}
        self._files.diff.append({**headers, "before": f"{before}\n", "after": f"{after}\n"})
