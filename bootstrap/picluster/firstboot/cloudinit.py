"""First boot by cloud-init's NoCloud files on the boot partition: Raspberry Pi OS from 2025-11-24, and Ubuntu."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import yaml

from picluster.firstboot import cmdline, script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from picluster.cards.bootfiles import BootFiles
    from picluster.firstboot import NodeIdentity

Command = list[str]
_MARK = "# Written by picluster for {name}.\n"


if TYPE_CHECKING:
    _Base = yaml.SafeDumper
else:
    # The one in C takes a tenth of the time, where PyYAML was built with it.
    _Base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):
    """Writes a text of several lines as one."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(data: object) -> str:
    # PyYAML, because cloud-init reads with it: what a YAML 1.1 reader takes for a boolean is quoted. A key is one line.
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 16)


def user_data(node: NodeIdentity, early: Sequence[Command] = (), late: Sequence[Command] = ()) -> bytes:
    """Make the user-data: the key as the only way in, a user who can become root, sshd on.

    ``early`` runs before the network and before cloud-init looks for the user, ``late`` when the system is up.
    """
    user = node.user
    # `user` (singular) is merged into the image's default user, who keeps his groups; `users` without `default`
    # makes one without any (rpi-imager#1601). manage_etc_hosts is left out: /etc/hosts is Ansible's.
    given = node.settings
    region = {"timezone": given.timezone, "locale": given.locale}
    settings = {
        "hostname": node.name,
        **{key: value for key, value in region.items() if value},
        "ssh_pwauth": False,
        "user": {
            "name": user,
            "shell": "/bin/bash",
            "lock_passwd": True,
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "ssh_authorized_keys": list(node.keys),
        },
        # Images from 2026-04-13 on come without passwordless sudo, and cloud-init does not always mend that for
        # a user who exists already.
        "write_files": [
            {
                "path": f"/etc/sudoers.d/010_{user}-nopasswd",
                "owner": "root:root",
                "permissions": "0440",
                "content": f"{user} ALL=(ALL) NOPASSWD: ALL\n",
            }
        ],
        # bootcmd comes at every boot; cloud-init-per runs ours once for each burn.
        **({"bootcmd": [["cloud-init-per", "instance", "picluster", *command] for command in early]} if early else {}),
        "runcmd": [
            # There is no enable_ssh in cloud-init (rpi-imager#1612); the FAT file `ssh` is the second way.
            ["systemctl", "enable", "--now", "ssh"],
            *late,
        ],
    }
    return ("#cloud-config\n" + _MARK.format(name=node.name) + _yaml(settings)).encode()


def meta_data(node: NodeIdentity) -> bytes:
    """Make the meta-data.

    NoCloud reads ``instance-id`` with a hyphen (the stock files have an underscore). Without ``dsmode: local`` and
    ``local-hostname`` the first DHCP request goes out under the image's own name (cloud-init#4037).
    """
    settings = {"instance-id": node.instance, "dsmode": "local", "local-hostname": node.name}
    return (_MARK.format(name=node.name) + _yaml(settings)).encode()


def _shell(values: Mapping[str, str], pieces: Sequence[str], steps: Sequence[str]) -> Command:
    return ["sh", "-c", script.lines(values, pieces, steps)]


class _CloudInit(ABC):
    """What both kinds share."""

    name = "cloud-init"
    title = ""
    client_id = False

    def render(self, boot: BootFiles, node: NodeIdentity) -> Mapping[str, bytes]:
        """Return the first-boot files of one node."""
        # With it on the command line cloud-init can tell on later boots that its cache is still this instance's, and
        # does not search again.
        instance = f"ds=nocloud;i={node.instance};h={node.name}"
        return {
            "user-data": user_data(node, self._early(node), self._late(node)),
            "meta-data": meta_data(node),
            "network-config": self._network_config(node),
            **cmdline.extend(boot, instance, node.settings),
        }

    def _early(self, node: NodeIdentity) -> list[Command]:  # noqa: ARG002 - the other kind needs it
        """Return what runs before the network and before cloud-init looks for the user."""
        return []

    def _late(self, node: NodeIdentity) -> list[Command]:
        """Return what runs when the system is up."""
        given = node.settings
        if not given.country:
            return []
        # Stock images keep the radio off until the country is known.
        steps = ["unblock_wifi", "forget_wifi"] if given.wifi else ["unblock_wifi"]
        return [_shell({"regdomain": given.country}, ["radio", "forget"], steps)]

    def _network_config(self, node: NodeIdentity) -> bytes:
        # A network-config replaces the image's own, so the cable is in it, Wi-Fi or not.
        network: dict[str, object] = {"version": 2, "ethernets": {"eth0": self._cable(node)}}
        wifi = node.settings.wifi
        if wifi is not None:
            hidden = {"hidden": True} if wifi.hidden else {}
            # netplan takes 64 hex digits for the key itself; the passphrase is not on the card. It stands last, so that
            # it can be taken out again: until then who holds the card holds the key.
            points = {wifi.ssid: {"password": wifi.psk, **hidden}}
            radio = {"regulatory-domain": node.settings.country, "access-points": points}
            network["wifis"] = {"wlan0": {**self._radio(node), **radio}}
        return (_MARK.format(name=node.name) + _yaml({"network": network})).encode()

    @abstractmethod
    def _cable(self, node: NodeIdentity) -> dict[str, object]:
        """Return the settings of eth0, which carries the hint."""

    @abstractmethod
    def _radio(self, node: NodeIdentity) -> dict[str, object]:
        """Return the settings of wlan0 without its network."""


class NetworkManagerCloudInit(_CloudInit):
    """Raspberry Pi OS: netplan makes a NetworkManager connection."""

    title = "Raspberry Pi OS of 2025-11-24 or later"
    client_id = True

    def render(self, boot: BootFiles, node: NodeIdentity) -> Mapping[str, bytes]:
        """Return the first-boot files of one node."""
        # The system takes `ssh` away when it has turned sshd on; Ubuntu has it on and would let the file lie.
        return {**super().render(boot, node), "ssh": b""}

    def _early(self, node: NodeIdentity) -> list[Command]:
        # Not in runcmd: that runs after multi-user.target, which the image's own wizard may hold back. A user who is
        # still to be made gets his shell from cloud-init.
        steps = ["mend_shell", "set_hosts", "no_wizard", "systemctl --quiet enable ssh"]
        return [_shell({"name": node.name, "user": node.user}, ["login", "hosts", "wizard"], steps)]

    def _late(self, node: NodeIdentity) -> list[Command]:
        # Some builds of cloud-init rename the stock user, shell and all (its distros/raspberry_pi_os.py).
        steps = ["mend_shell", "no_leftovers", "take_hint"]
        mended = _shell({"user": node.user}, ["login", "wizard", "cable"], steps)
        return [mended, *super()._late(node)]

    def _cable(self, node: NodeIdentity) -> dict[str, object]:
        # NetworkManager sends the host name (option 12) by itself; netplan's dhcp4-overrides and dhcp-identifier would
        # be ignored here.
        return {**self._radio(node), "networkmanager": {"passthrough": {"ipv4.dhcp-client-id": node.name}}}

    def _radio(self, node: NodeIdentity) -> dict[str, object]:  # noqa: ARG002 - the other kind needs it
        # The renderer stands at the interface: at the top level alone cloud-init's netplan check refuses the
        # passthrough (tried with cloud-init 25.1.4 and netplan 1.1.2). The client-id is not in here: one on two
        # interfaces of a net makes a server give both the same address.
        return {"renderer": "NetworkManager", "dhcp4": True, "optional": True}


class NetworkdCloudInit(_CloudInit):
    """Ubuntu: netplan makes a networkd configuration, which knows no free-form client-id."""

    title = "Ubuntu Server for Raspberry Pi"
    client_id = False

    def _cable(self, node: NodeIdentity) -> dict[str, object]:
        return self._radio(node)

    def _radio(self, node: NodeIdentity) -> dict[str, object]:
        return {
            "dhcp4": True,
            "optional": True,
            "dhcp4-overrides": {"hostname": node.name, "send-hostname": True},
        }
