"""First boot by cloud-init's NoCloud files on the boot partition: Raspberry Pi OS from 2025-11-24, and Ubuntu."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import yaml

from picluster.errors import PiclusterError
from picluster.image import identify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from picluster.firstboot import NodeIdentity
    from picluster.image import BootFiles

_MARK = "# Written by picluster for {name}.\n"


def _yaml(data: object) -> str:
    # PyYAML, because cloud-init reads with it: what a YAML 1.1 reader takes for a boolean is quoted. A key is one line.
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1 << 16)


def user_data(node: NodeIdentity) -> bytes:
    """Make the user-data: the key as the only way in, a user who can log in and become root, sshd on."""
    user = node.user
    # `user` (singular) is merged into the image's default user, who keeps his groups; `users` without `default`
    # makes one without any (rpi-imager#1601). manage_etc_hosts is left out: /etc/hosts is Ansible's.
    shell = (
        f'case "$(getent passwd {user} | cut -d: -f7)" in */nologin|*/false|"") usermod --shell /bin/bash {user};; esac'
    )
    settings = {
        "hostname": node.name,
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
        "runcmd": [
            # Images from 2026-02-16 on have `pi` with nologin, and cloud-init leaves an existing user's shell alone.
            ["sh", "-c", shell],
            # There is no enable_ssh in cloud-init (rpi-imager#1612); the FAT file `ssh` is the second way.
            ["systemctl", "enable", "--now", "ssh"],
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


def cmdline(stock: str, node: NodeIdentity) -> bytes:
    """Append the instance to the kernel's command line, one line, all stock words kept.

    With it cloud-init can tell on later boots that its cache is still this instance's, and does not search again.

    Raises:
        PiclusterError: if the stock file is empty: a board without root= does not boot.
    """
    words = [word for word in stock.split() if not word.startswith("ds=nocloud;")]
    if not words:
        raise PiclusterError("cmdline.txt on the boot partition is missing or empty: the image is damaged")
    return " ".join([*words, f"ds=nocloud;i={node.instance};h={node.name}"]).encode() + b"\n"


class _CloudInit(ABC):
    """What both kinds share."""

    title = ""
    client_id = False
    _generation = ""

    def recognises(self, boot: BootFiles) -> bool:
        """Whether the image brings cloud-init files of this kind."""
        return identify(boot).name == self._generation

    def render(self, boot: BootFiles, node: NodeIdentity) -> Mapping[str, bytes]:
        """Return the first-boot files of one node."""
        network = {"network": {"version": 2, "ethernets": {"eth0": self._interface(node)}}}
        return {
            "user-data": user_data(node),
            "meta-data": meta_data(node),
            "network-config": (_MARK.format(name=node.name) + _yaml(network)).encode(),
            "cmdline.txt": cmdline(boot.text("cmdline.txt"), node),
        }

    @abstractmethod
    def _interface(self, node: NodeIdentity) -> dict[str, object]:
        """Return the settings of eth0."""


class NetworkManagerCloudInit(_CloudInit):
    """Raspberry Pi OS: netplan makes a NetworkManager connection."""

    title = "Raspberry Pi OS of 2025-11-24 or later"
    client_id = True
    _generation = "cloud-init"

    def render(self, boot: BootFiles, node: NodeIdentity) -> Mapping[str, bytes]:
        """Return the first-boot files of one node."""
        # The system takes `ssh` away when it has turned sshd on; Ubuntu has it on and would let the file lie.
        return {**super().render(boot, node), "ssh": b""}

    def _interface(self, node: NodeIdentity) -> dict[str, object]:
        # The renderer stands at the interface: at the top level alone cloud-init's netplan check refuses the
        # passthrough (tried with cloud-init 25.1.4 and netplan 1.1.2). NetworkManager sends the host name (option
        # 12) by itself; netplan's dhcp4-overrides and dhcp-identifier would be ignored here.
        return {
            "renderer": "NetworkManager",
            "dhcp4": True,
            "optional": True,
            "networkmanager": {"passthrough": {"ipv4.dhcp-client-id": node.name}},
        }


class NetworkdCloudInit(_CloudInit):
    """Ubuntu: netplan makes a networkd configuration, which knows no free-form client-id."""

    title = "Ubuntu Server for Raspberry Pi"
    client_id = False
    _generation = "ubuntu"

    def _interface(self, node: NodeIdentity) -> dict[str, object]:
        return {
            "dhcp4": True,
            "optional": True,
            "dhcp4-overrides": {"hostname": node.name, "send-hostname": True},
        }
