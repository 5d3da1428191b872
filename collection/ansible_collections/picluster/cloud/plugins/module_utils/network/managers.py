# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The managers of a network interface: netplan with either renderer, NetworkManager, dhcpcd."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.network.plan import (
    DHCPCD_CONF,
    NETPLAN_DROPIN,
    dhcpcd_text,
    keyfile_text,
    netplan_text,
    profile_name,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import AddressSettings
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

_NM = "org.freedesktop.NetworkManager"
_NM_BUS = ("busctl", "call", _NM, "/org/freedesktop/NetworkManager", _NM)
_ALLOW_OVERLAPPING = "8"
_NETPLAN = "/usr/sbin/netplan"
# The program behind `netplan generate`, newer place first; the command itself would reload systemd.
_GENERATORS = ("/usr/libexec/netplan/generate", "/lib/netplan/generate")
# netplan reads these in this order (netplan-generate(8)).
_NETPLAN_FOLDERS = ("lib/netplan", "etc/netplan", "run/netplan")


class Manager:
    """A manager of an interface: one file that makes an address permanent, and the commands that load it."""

    name: str
    path: str
    text: str
    mode = 0o600
    # User and group id, None for root's.
    owner: tuple[int, int] | None = None
    has_nm = False

    def __init__(self, settings: AddressSettings, node: Node) -> None:
        self._node = node
        self._settings = settings
        self._interface = settings.interface

    def try_out(self) -> None:
        """Raise UserError if the file would not have the desired effect; only netplan has a dry run."""

    def active(self) -> str:
        """Return the profile that is active on the interface, for `back`; empty where the manager follows its file."""
        return ""

    def apply(self, *, moving: bool) -> None:  # noqa: ARG002 - for subclasses
        """Load the file; an address that stays the same (not `moving`) stays on the interface."""
        for command in self._commands():
            self._node.change(*command)

    def checkpoint(self) -> str:
        """Save the interface's state in the manager itself; return the name of that, empty if it cannot."""
        return ""

    def back(self, former: str, checkpoint: str) -> list[list[str]]:  # noqa: ARG002 - for subclasses
        """Return the commands that restore the former state, after the file was restored."""
        return self._commands()

    def at_confirm(self, checkpoint: str) -> list[list[str]]:  # noqa: ARG002 - for subclasses
        """Return the commands that delete the checkpoint."""
        return []

    def at_boot(self) -> list[list[str]]:
        """Return the commands that restore it at boot before the manager starts; most just read their files then."""
        return []

    def _commands(self) -> list[list[str]]:
        """Return the commands that load the file."""
        raise NotImplementedError


@dataclass(frozen=True)
class Found:
    """What a node has to manage interfaces with.

    Attributes:
        netplan: netplan is installed and has files of its own.
        nm_state: NetworkManager's term for the interface's state, empty if it does not run.
        networkd: systemd-networkd runs.
        dhcpcd: dhcpcd runs with a configuration.
    """

    netplan: bool = False
    nm_state: str = ""
    networkd: bool = False
    dhcpcd: bool = False


def known_managers(node: Node, interface: str) -> Found:
    """Return what the node has to manage an interface with."""
    networkd, dhcpcd = "systemd-networkd.service", "dhcpcd.service"
    units = node.units.show(networkd, dhcpcd)
    # Prints nothing where NetworkManager does not run.
    devices = node.run("nmcli", "-t", "-f", "DEVICE,STATE", "device").out.splitlines()
    return Found(
        netplan=node.path(_NETPLAN).exists() and any(node.path("/etc/netplan").glob("*.yaml")),
        nm_state=dict(line.partition(":")[::2] for line in devices).get(interface, ""),
        networkd=units[networkd]["ActiveState"] == "active",
        dhcpcd=node.path(DHCPCD_CONF).exists() and units[dhcpcd]["ActiveState"] == "active",
    )


def choose(found: Found, interface: str) -> type[Manager]:
    """Return the manager that has the interface; raise UserError if no known one has it."""
    if found.nm_state in {"connected", "disconnected"} or found.nm_state.startswith("connecting"):
        return NetplanNM if found.netplan else NetworkManager
    if found.networkd and found.netplan:
        return NetplanNetworkd
    if found.dhcpcd and not found.networkd:
        return Dhcpcd
    present = [
        f"NetworkManager reports it as {found.nm_state}" if found.nm_state else "",
        "systemd-networkd runs without netplan" if found.networkd else "",
        "dhcpcd runs too" if found.dhcpcd else "",
    ]
    words = ", ".join(filter(None, present)) or "no known manager runs"
    raise UserError(
        f"{interface} is not managed by NetworkManager, netplan or dhcpcd: {words}; use an image of Raspberry Pi OS or "
        "Ubuntu, or let one of them manage the interface"
    )


class Dhcpcd(Manager):
    """dhcpcd alone (Raspberry Pi OS up to Bullseye); it reports errors only in its journal."""

    name = "dhcpcd"
    path = DHCPCD_CONF

    def __init__(self, settings: AddressSettings, node: Node) -> None:
        super().__init__(settings, node)
        self.text = dhcpcd_text(node.files.read(self.path) or "", settings)
        status = node.path(self.path).stat()
        # Raspbian's group netdev may write it.
        self.mode = status.st_mode & 0o7777
        self.owner = (status.st_uid, status.st_gid)

    def _commands(self) -> list[list[str]]:
        # `dhcpcd -n` would do it for this interface alone, but 9.4.1 accepts that only once ("cannot handle another
        # client"). The option `persistent`, which Raspbian sets, leaves the former address on the interface.
        flush = ["ip", "-4", "address", "flush", "dev", self._interface]
        return [["systemctl", "stop", "dhcpcd.service"], flush, ["systemctl", "start", "dhcpcd.service"]]


class NetworkManager(Manager):
    """NetworkManager alone: our profile, which outranks the automatic one.

    It has no dry run, but ignores a profile it cannot read, and then `apply` fails.
    """

    name = "NetworkManager"
    has_nm = True

    def __init__(self, settings: AddressSettings, node: Node) -> None:
        super().__init__(settings, node)
        self.profile = profile_name(settings.interface)
        self.path = f"/etc/NetworkManager/system-connections/{self.profile}.nmconnection"
        self.text = keyfile_text(settings)

    def active(self) -> str:
        """Return the profile that is active on the interface."""
        return self._node.query("nmcli", "-g", "GENERAL.CONNECTION", "device", "show", self._interface).strip()

    def apply(self, *, moving: bool) -> None:
        """Reload NetworkManager's profiles and activate ours.

        Not by a reapply where the node moves: that removes addresses which are not in the profile, and may do so after
        it has returned (seen with 1.42 and a changed search domain).
        """
        self._node.change("nmcli", "connection", "reload")
        stays = not moving and self.active() == self.profile
        # Not every change of a profile can be applied to a device that is up.
        if not stays or not self._node.run("nmcli", "device", "reapply", self._interface).ok:
            self._node.change(*self._up(self.profile))

    def checkpoint(self) -> str:
        """Create a checkpoint of the device.

        It knows what no file has, such as a profile in memory. Without a time-out: the rollback's timer decides, and
        after a power cut its unit. It may overlap with others, which are not ours to destroy.
        """
        device = self._node.run("nmcli", "-g", "GENERAL.DBUS-PATH", "device", "show", self._interface)
        if not device.ok:
            return ""
        created = self._node.run(*_NM_BUS, "CheckpointCreate", "aouu", "1", device.out.strip(), "0", _ALLOW_OVERLAPPING)
        return created.out.partition('"')[2].partition('"')[0] if created.ok else ""

    def back(self, former: str, checkpoint: str) -> list[list[str]]:
        """Return the commands that restore the checkpoint, or else the former profile."""
        up = self._up(former)
        if checkpoint:
            # It returns a number for the device; 0 is success.
            rolled = f"{shlex.join([*_NM_BUS, 'CheckpointRollback', 'o', checkpoint])} | grep -q ' 0$'"
            up = ["sh", "-c", f"{rolled} || {shlex.join(up)}"]
        return [["nmcli", "connection", "reload"], *([up] if former else [])]

    def at_confirm(self, checkpoint: str) -> list[list[str]]:
        """Return the command that destroys the checkpoint."""
        return [[*_NM_BUS, "CheckpointDestroy", "o", checkpoint]] if checkpoint else []

    def _up(self, profile: str) -> list[str]:
        return ["nmcli", "--wait", "30", "connection", "up", profile, "ifname", self._interface]


class _Netplan(Manager):
    """What both renderers share: the drop-in and its dry run.

    Without checkpoints: the profiles are netplan's, and a checkpoint would restore one without netplan's knowledge.
    """

    renderer: str
    # netplan's file for an interface, below the root.
    rendered: str
    path = NETPLAN_DROPIN

    def __init__(self, settings: AddressSettings, node: Node) -> None:
        super().__init__(settings, node)
        self.text = netplan_text(settings, self.renderer)
        self.name = f"netplan with {self.renderer}"

    def at_boot(self) -> list[list[str]]:
        """Return the generator: systemd's generators have run before, with the file that was not confirmed."""
        return [self._generator()]

    def _generator(self) -> list[str]:
        return next(([path] for path in _GENERATORS if self._node.path(path).exists()), ["netplan", "generate"])

    def try_out(self) -> None:
        """Generate from a copy of all files of netplan and ours, and check that the address is in the result."""
        with tempfile.TemporaryDirectory(prefix="picluster-netplan-") as folder:
            root = Path(folder)
            for below in _NETPLAN_FOLDERS:
                if self._node.path(below).is_dir():
                    shutil.copytree(self._node.path(below), root / below)
            target = root / self.path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch(mode=0o600)
            target.write_text(self.text, encoding="utf-8")
            # `netplan generate` would make systemd read all its units again, at each run.
            outcome = self._node.run(*self._generator(), "--root-dir", folder)
            if not outcome.ok:
                raise UserError(
                    f"netplan rejects {self.path} together with its other files: {outcome.reason.replace(folder, '')}; "
                    "correct the file that it names"
                )
            result = root / self.rendered.format(self._interface)
            if not result.exists() or self._settings.address.with_prefixlen not in result.read_text(encoding="utf-8"):
                raise UserError(
                    f"netplan would not configure the address of {self._interface} through {self.renderer}: another "
                    f"file in /etc/netplan overrides it; remove {self._interface} from that file"
                )


class NetplanNetworkd(_Netplan):
    """netplan with systemd-networkd (Ubuntu Server)."""

    renderer = "networkd"
    rendered = "run/systemd/network/10-netplan-{}.network"

    def _commands(self) -> list[list[str]]:
        return [["netplan", "generate"], ["networkctl", "reload"], ["networkctl", "reconfigure", self._interface]]


class NetplanNM(_Netplan):
    """netplan with NetworkManager (Raspberry Pi OS Trixie)."""

    has_nm = True
    renderer = "NetworkManager"
    rendered = "run/NetworkManager/system-connections/netplan-{}.nmconnection"

    def __init__(self, settings: AddressSettings, node: Node) -> None:
        super().__init__(settings, node)
        self._nm = NetworkManager(settings, node)
        self._nm.profile = f"netplan-{settings.interface}"

    def active(self) -> str:
        """Return the profile that is active on the interface."""
        return self._nm.active()

    def apply(self, *, moving: bool) -> None:
        """Generate NetworkManager's profile and activate it; `netplan apply` would restart all of NetworkManager."""
        self._node.change("netplan", "generate")
        self._nm.apply(moving=moving)

    def back(self, former: str, checkpoint: str) -> list[list[str]]:
        """Return the commands that generate the former profile and activate it."""
        return [["netplan", "generate"], *self._nm.back(former, checkpoint)]
