# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Who can have a network interface, behind one interface: netplan with either renderer, NetworkManager, dhcpcd."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ansible_collections.picluster.cloud.plugins.module_utils.network import dhcpcd as network_dhcpcd
from ansible_collections.picluster.cloud.plugins.module_utils.network.plan import (
    NETPLAN_DROPIN,
    Wanted,
    keyfile_path,
    keyfile_text,
    netplan_text,
    profile_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., str]

_NM = "org.freedesktop.NetworkManager"
_NM_BUS = ("busctl", "call", _NM, "/org/freedesktop/NetworkManager", _NM)
_ALLOW_OVERLAPPING = "8"
# The program behind `netplan generate`, newer place first; the command itself would talk to systemd.
_GENERATORS = ("/usr/libexec/netplan/generate", "/lib/netplan/generate")
# netplan reads these in this order (netplan-generate(8)).
_NETPLAN_FOLDERS = ("lib/netplan", "etc/netplan", "run/netplan")


class Manager(Protocol):
    """Whoever has an interface: one file that makes an address permanent, and how to make it true now."""

    name: str
    path: str
    text: str
    mode: int
    # User and group id, None for root's.
    owner: tuple[int, int] | None
    has_nm: bool

    def try_out(self) -> None:
        """Raise ValueError if the file would not do what it is meant to."""

    def active(self) -> str:
        """Return what is in force on the interface now, for `back`."""

    def apply(self, *, moving: bool) -> None:
        """Put the file as it is now in force; an address that stays the same (not `moving`) stays on the interface."""

    def checkpoint(self) -> str:
        """Let the manager itself remember the interface as it is; return the name of that, empty if it cannot."""

    def back(self, former: str, checkpoint: str) -> list[list[str]]:
        """Return the commands that put in force what was before, after the file was put back."""

    def at_confirm(self, checkpoint: str) -> list[list[str]]:
        """Return the commands that let the manager forget the checkpoint."""

    def at_boot(self) -> list[list[str]]:
        """Return the commands for the same at boot, when the manager has not started yet."""


@dataclass(frozen=True)
class Found:
    """What a node has to manage interfaces with.

    Attributes:
        netplan: netplan is installed and has files of its own.
        nm_state: NetworkManager's word for the interface's state, empty if it does not run.
        networkd: systemd-networkd runs.
        dhcpcd: dhcpcd runs with a configuration.
    """

    netplan: bool
    nm_state: str
    networkd: bool
    dhcpcd: bool


def parse_nm_state(output: str, interface: str) -> str:
    """Return an interface's state out of what `nmcli -t -f DEVICE,STATE device` prints."""
    for line in output.splitlines():
        device, _, state = line.partition(":")
        if device == interface:
            return state
    return ""


def known_managers(run: Run, interface: str) -> Found:
    """Look at what the node has."""
    try:
        state = parse_nm_state(run("nmcli", "-t", "-f", "DEVICE,STATE", "device"), interface)
    except ValueError:
        state = ""
    return Found(
        netplan=shutil.which("netplan") is not None and any(Path("/etc/netplan").glob("*.yaml")),
        nm_state=state,
        networkd=_is_active(run, "systemd-networkd.service"),
        dhcpcd=Path(network_dhcpcd.CONF).exists() and _is_active(run, "dhcpcd.service"),
    )


def _is_active(run: Run, unit: str) -> bool:
    try:
        return run("systemctl", "is-active", unit).strip() == "active"
    except ValueError:
        return False


def kind(found: Found, interface: str) -> str:
    """Return which manager has the interface: netplan-nm, netplan-networkd, nm or dhcpcd.

    Raises:
        ValueError: none that is known; one sentence about what there is.
    """
    if found.nm_state in {"connected", "connecting", "disconnected"} or found.nm_state.startswith("connecting"):
        return "netplan-nm" if found.netplan else "nm"
    if found.networkd and found.netplan:
        return "netplan-networkd"
    if found.dhcpcd and not found.networkd:
        return "dhcpcd"
    there = [
        f"NetworkManager calls it {found.nm_state}" if found.nm_state else "",
        "systemd-networkd runs without netplan" if found.networkd else "",
        "dhcpcd runs too" if found.dhcpcd else "",
    ]
    words = ", ".join(word for word in there if word) or "nothing that is known runs"
    raise ValueError(
        f"{interface} is in the hands of neither NetworkManager nor netplan nor dhcpcd ({words}): use an image of "
        "Raspberry Pi OS or Ubuntu, or let one of them manage the interface"
    )


def choose(wanted: Wanted, found: Found, run: Run) -> Manager:
    """Return the manager that has the interface; raise ValueError where there is none that is known."""
    which = kind(found, wanted.interface)
    if which == "dhcpcd":
        return network_dhcpcd.Dhcpcd(wanted, run)
    if which == "nm":
        return NetworkManager(wanted, run)
    return NetplanNM(wanted, run) if which == "netplan-nm" else NetplanNetworkd(wanted, run)


class NetworkManager:
    """NetworkManager alone: a profile of ours, which outranks the automatic one."""

    name = "NetworkManager"
    mode = 0o600
    owner: tuple[int, int] | None = None
    has_nm = True

    def __init__(self, wanted: Wanted, run: Run) -> None:
        self._run = run
        self._interface = wanted.interface
        self.profile = profile_name(wanted.interface)
        self.path = keyfile_path(wanted.interface)
        self.text = keyfile_text(wanted)

    def try_out(self) -> None:
        """NetworkManager has no dry run: it ignores a profile it cannot read, and then `apply` fails."""

    def active(self) -> str:
        """Return the profile that is active on the interface."""
        return self._run("nmcli", "-g", "GENERAL.CONNECTION", "device", "show", self._interface).strip()

    def apply(self, *, moving: bool) -> None:
        """Let NetworkManager read its profiles again and use ours.

        Not by a reapply where the node moves: that takes addresses which are not in the profile off the interface, and
        may do so after it has returned (seen with 1.42 and a changed search domain).
        """
        self._run("nmcli", "connection", "reload")
        if not moving and self.active() == self.profile:
            try:
                self._run("nmcli", "device", "reapply", self._interface)
            except ValueError:
                # Not every change of a profile can be applied to a device that is up.
                self._up()
        else:
            self._up()

    def _up(self) -> None:
        self._run("nmcli", "--wait", "30", "connection", "up", self.profile, "ifname", self._interface)

    def checkpoint(self) -> str:
        """Make a checkpoint of the device.

        It knows what no file says, such as a profile in memory. Without a time-out: the rollback's timer is the one
        that counts, and after a power cut its unit. May overlap with others', which are not ours to destroy.
        """
        try:
            device = self._run("nmcli", "-g", "GENERAL.DBUS-PATH", "device", "show", self._interface).strip()
            said = self._run(*_NM_BUS, "CheckpointCreate", "aouu", "1", device, "0", _ALLOW_OVERLAPPING)
        except ValueError:
            return ""
        return said.partition('"')[2].partition('"')[0]

    def back(self, former: str, checkpoint: str) -> list[list[str]]:
        """Go back to the checkpoint, or to the former profile."""
        up = ["nmcli", "--wait", "30", "connection", "up", former, "ifname", self._interface]
        if checkpoint:
            # It answers with a number for the device; 0 is success.
            rolled = f"{shlex.join([*_NM_BUS, 'CheckpointRollback', 'o', checkpoint])} | grep -q ' 0$'"
            up = ["sh", "-c", f"{rolled} || {shlex.join(up)}"]
        return [["nmcli", "connection", "reload"], *([up] if former else [])]

    def at_confirm(self, checkpoint: str) -> list[list[str]]:
        """Destroy the checkpoint."""
        return [[*_NM_BUS, "CheckpointDestroy", "o", checkpoint]] if checkpoint else []

    def at_boot(self) -> list[list[str]]:
        """NetworkManager reads its profiles when it starts."""
        return []


def _generator() -> list[str]:
    return next(([path] for path in _GENERATORS if Path(path).exists()), ["netplan", "generate"])


class _Netplan:
    """What both renderers share: the drop-in and its try-out."""

    mode = 0o600
    owner: tuple[int, int] | None = None
    has_nm = False
    renderer = ""
    path = NETPLAN_DROPIN

    def __init__(self, wanted: Wanted, run: Run) -> None:
        self._run = run
        self._wanted = wanted
        self._interface = wanted.interface
        self.text = netplan_text(wanted, self.renderer)
        self.name = f"netplan with {self.renderer}"

    def checkpoint(self) -> str:
        """None: its profiles are netplan's, and a checkpoint would bring one back behind netplan's back."""
        return ""

    def at_confirm(self, checkpoint: str) -> list[list[str]]:  # noqa: ARG002  # the interface of a manager
        """Nothing."""
        return []

    def at_boot(self) -> list[list[str]]:
        """Generate anew: systemd's generators have run before, with the file that was not confirmed."""
        return [_generator()]

    def _rendered(self) -> str:
        """Return the path below /run of what netplan makes for the interface."""
        raise NotImplementedError

    def try_out(self) -> None:
        """Let netplan generate from a copy of all its files and ours, and look whether the address comes out."""
        with tempfile.TemporaryDirectory(prefix="picluster-netplan-") as folder:
            root = Path(folder)
            for below in _NETPLAN_FOLDERS:
                if (Path("/") / below).is_dir():
                    shutil.copytree(Path("/") / below, root / below)
            target = root / self.path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch(mode=0o600)
            target.write_text(self.text, encoding="utf-8")
            try:
                # `netplan generate` would have systemd read all its units again, at each run.
                self._run(*_generator(), "--root-dir", folder)
            except ValueError as error:
                words = str(error).replace(folder, "").partition("failed: ")[2]
                raise ValueError(f"netplan does not accept its files together with {self.path}: {words}") from error
            result = root / self._rendered()
            if not result.exists() or str(self._wanted.address.with_prefixlen) not in result.read_text(
                encoding="utf-8"
            ):
                raise ValueError(
                    f"netplan would not give {self._interface} its address through {self.renderer}, because "
                    "another file in /etc/netplan says otherwise: "
                    f"take {self._interface} out of it"
                )


class NetplanNetworkd(_Netplan):
    """netplan with systemd-networkd (Ubuntu Server)."""

    renderer = "networkd"

    def _rendered(self) -> str:
        return f"run/systemd/network/10-netplan-{self._interface}.network"

    def active(self) -> str:
        """Nothing needs to be remembered: networkd follows its files."""
        return ""

    def apply(self, *, moving: bool) -> None:  # noqa: ARG002  # the interface of a manager
        """Let networkd read its files again for this interface alone."""
        for command in self._commands():
            self._run(*command)

    def back(self, former: str, checkpoint: str) -> list[list[str]]:  # noqa: ARG002  # the interface of a manager
        """Do the same with the former files."""
        return self._commands()

    def _commands(self) -> list[list[str]]:
        return [["netplan", "generate"], ["networkctl", "reload"], ["networkctl", "reconfigure", self._interface]]


class NetplanNM(_Netplan):
    """netplan with NetworkManager (Raspberry Pi OS Trixie)."""

    has_nm = True
    renderer = "NetworkManager"

    def __init__(self, wanted: Wanted, run: Run) -> None:
        super().__init__(wanted, run)
        self._nm = NetworkManager(wanted, run)
        self._nm.profile = f"netplan-{wanted.interface}"

    def _rendered(self) -> str:
        return f"run/NetworkManager/system-connections/netplan-{self._interface}.nmconnection"

    def active(self) -> str:
        """Return the profile that is active on the interface."""
        return self._nm.active()

    def apply(self, *, moving: bool) -> None:
        """Make NetworkManager's profile anew and use it; `netplan apply` would restart NetworkManager as a whole."""
        self._run("netplan", "generate")
        self._nm.apply(moving=moving)

    def back(self, former: str, checkpoint: str) -> list[list[str]]:
        """Make the former profile anew and use it."""
        return [["netplan", "generate"], *self._nm.back(former, checkpoint)]
