"""Nodes: containers that boot systemd from the card's root file system, each with its own card's FAT partition."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.engine import LABEL, Container, host_capabilities
from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.engine import Engine

NODE_LABEL = "picluster.node"
# What the board's firmware and kernel do before init:
# - the engine's own files over hostname, hosts and resolv.conf go away: a card has none, and no rename goes over them;
# - the node's cgroup mounts become writable (plain remount says busy, a bind remount works), on cgroup v1 each of them;
# - resolv.conf, which the engine had to make to cover it, gets its usual mode;
# - mounts are shared, as systemd has them on a board, for a kubelet's sake;
# - the network socket is there before the system is (an unplugged cable is a socket without carrier).
POWER_ON = r"""
for file in /etc/hostname /etc/hosts /etc/resolv.conf; do umount "$file" 2>/dev/null; done
while read -r _ folder _; do
  case $folder in /sys/fs/cgroup*) mount -o remount,bind,rw "$folder";; esac
done </proc/mounts
chmod 644 /etc/resolv.conf
mount --make-rshared /
tries=0
until [ -e /sys/class/net/eth0 ] || [ "$tries" -ge 600 ]; do tries=$((tries + 1)); sleep 0.1; done
exec /sbin/init
"""
# The overlay driver of a nested engine does not work on the outer one's overlay.
VOLUMES = ("/var/lib/docker", "/var/lib/rancher", "/var/lib/kubelet")
DEVICES = ("/dev/kmsg", "/dev/fuse")
READY_WITHIN = 300.0


@dataclass(frozen=True)
class Node:
    """One node of the lab."""

    name: str
    address: str
    suite: str


class Boards:
    """The nodes' containers of one cluster."""

    def __init__(self, engine: Engine, cluster: str) -> None:
        self._engine = engine
        self._cluster = cluster

    def container(self, node: str) -> str:
        """The container's name."""
        return f"{self._cluster}-{node}"

    def power_on(self, node: str, image: str, boot: Path) -> bool:
        """Have a node's container running; tell whether it is a first boot."""
        found = self._engine.status(self.container(node))
        if found is not None:
            if not found.running:
                self._engine.again(self.container(node), kill=False)
            return False
        self._engine.start(
            Container(
                image=image,
                name=self.container(node),
                # What the stock card says until its first boot is done; never the node's own name.
                hostname="raspberrypi",
                network="none",
                private_cgroups=True,
                unconfined=True,
                capabilities=host_capabilities(),
                command=["/bin/sh", "-c", POWER_ON],
                tmpfs=["/run:exec,mode=755", "/tmp:exec,mode=1777"],  # noqa: S108 - the node's own /tmp
                volumes=VOLUMES,
                devices=[device for device in DEVICES if Path(device).exists()],
                # The real fstab names partitions that a container does not have.
                binds=[(boot, "/boot/firmware", "rw"), (Path("/dev/null"), "/etc/fstab", "ro")],
                labels={LABEL: self._cluster, NODE_LABEL: node},
                stop_signal="SIGRTMIN+3",
            )
        )
        return True

    def wait(self, node: Node, say: Callable[[str], None], within: float = READY_WITHIN) -> None:
        """Wait until a node answers at its reserved address and its first boot is done.

        Raises:
            LabError: not in time; with what cloud-init and NetworkManager said.
        """
        end = time.monotonic() + within
        while not speaks_ssh(node.address):
            self._still_on(node)
            if time.monotonic() > end:
                raise LabError(
                    f"{node.name} does not answer by ssh at its reserved address {node.address} "
                    f"within {within:.0f} s.\n{self.journal(node.name)}"
                )
            time.sleep(0.5)
        say(f"{node.name}: answers at {node.address}")
        code, said = self._engine.execute(
            self.container(node.name),
            ["cloud-init", "status", "--wait", "--long"],
            timeout=max(end - time.monotonic(), 5),
        )
        # 2 is "done, with complaints" (cloud-init 23.4 and later).
        if code == 2:  # noqa: PLR2004
            say(f"{node.name}: first boot done, cloud-init complains: {' '.join(said.split())}")
        elif code != 0:
            raise LabError(f"The first boot of {node.name} failed: {' '.join(said.split())}\n{self.journal(node.name)}")
        say(f"{node.name}: ready")

    def wait_for_address(self, node: str, within: float) -> str:
        """The IPv4 address that a node's own DHCP client has put on its interface.

        Raises:
            LabError: none in time.
        """
        end = time.monotonic() + within
        while time.monotonic() < end:
            _, said = self._engine.execute(
                self.container(node), ["ip", "-4", "-brief", "address", "show", "dev", "eth0"]
            )
            found = re.search(r"\b(\d+\.\d+\.\d+\.\d+)/\d+", said)
            if found is not None:
                return found[1]
            time.sleep(0.5)
        raise LabError(f"{node} got no address within {within:.0f} s.\n{self.journal(node)}")

    def _still_on(self, node: Node) -> None:
        found = self._engine.status(self.container(node.name))
        if found is None or not found.running:
            raise LabError(f"{node.name} went off while booting; look at: docker logs {self.container(node.name)}")

    def journal(self, node: str) -> str:
        """The end of what a node's first boot and network said."""
        _, said = self._engine.execute(
            self.container(node),
            ["journalctl", "--no-pager", "--lines=40", "--output=short-monotonic"]
            + [f"--unit={unit}" for unit in ("cloud-init-local", "cloud-init*", "cloud-*", "NetworkManager", "ssh")],
            timeout=20,
        )
        return said

    def hang_up(self, node: str) -> None:
        """End a node's ssh sessions, so that their clients notice now and not by a time-out."""
        self._engine.execute(self.container(node), ["pkill", "-KILL", "^sshd"], timeout=10)


def speaks_ssh(address: str, port: int = 22, timeout: float = 2.0) -> bool:
    """Whether an ssh server greets there."""
    try:
        with socket.create_connection((address, port), timeout=timeout) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
