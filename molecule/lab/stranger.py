"""Somebody on the same network who has no business with the cluster, and looks at what its nodes let through."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from lab.engine import LABEL, Container
from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lab.engine import Engine
    from lab.network import Network

NAME = "stranger"
IPV6 = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"


@dataclass(frozen=True)
class Target:
    """A node to look at.

    Attributes:
        name: the node.
        container: its container.
        address: its IPv4 address.
    """

    name: str
    container: str
    address: str

    @property
    def link_local(self) -> str:
        """The IPv6 address that the node has while it is looked at."""
        return f"fe80::{self.address.rpartition('.')[2]}"


def open_ports(output: str) -> dict[str, list[int]]:
    """Open TCP ports by address, as nmap's grepable output (-oG) has them; an address without any has no entry."""
    found: dict[str, list[int]] = {}
    for line in output.splitlines():
        match = re.match(r"Host: (\S+) .*Ports: ([^\t]*)", line)
        if match:
            ports = [entry.strip().split("/") for entry in match[2].split(",")]
            found[match[1]] = sorted(int(port[0]) for port in ports if port[1] == "open")
    return found


class Stranger:
    """A container with a cable of its own to the nodes' bridge, there as long as it is asked for."""

    def __init__(self, engine: Engine, network: Network, cluster: str, image: str) -> None:
        self._engine = engine
        self._network = network
        self._cluster = cluster
        self._image = image
        self._container = f"{cluster}-{NAME}"

    def __enter__(self) -> Self:
        self._leave()
        self._engine.start(
            Container(
                image=self._image,
                name=self._container,
                hostname=NAME,
                command=["sleep", "infinity"],
                network="none",
                capabilities=["NET_ADMIN", "NET_RAW"],
                sysctls={"net.ipv6.conf.all.disable_ipv6": "0", "net.ipv6.conf.default.disable_ipv6": "0"},
                labels={LABEL: self._cluster},
            )
        )
        try:
            self._network.plug([NAME])
            address = f"{self._network.net.stranger}/24"
            self._run(self._container, ["ip", "address", "add", address, "dev", "eth0"])
            self._run(self._container, ["ip", "address", "add", "fe80::253/64", "dev", "eth0", "nodad"])
            self._run(self._container, ["ip", "link", "set", "eth0", "up"])
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *_cause: object) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._engine.status(self._container) is not None:
            self._engine.remove([self._container])

    def _run(self, container: str, command: Sequence[str]) -> str:
        code, said = self._engine.execute(container, command)
        if code != 0:
            raise LabError(f"{' '.join(command)} failed in {container}: {said.strip()}")
        return said

    def scan(self, targets: Iterable[Target], ports: str) -> Mapping[str, Mapping[str, list[int]]]:
        """Open TCP ports by node and family.

        Args:
            targets: the nodes.
            ports: as nmap's -p takes them.

        Raises:
            LabError: nmap or a node would not.
        """
        nodes = list(targets)
        four = self._nmap([node.address for node in nodes], ports)
        # The engine switches IPv6 off in its containers; a board has it.
        for node in nodes:
            lines = f"echo 0 >{IPV6}; ip address replace {node.link_local}/64 dev eth0 nodad"
            self._run(node.container, ["sh", "-euc", lines])
        try:
            six = self._nmap([f"{node.link_local}%eth0" for node in nodes], ports, "-6")
        finally:
            for node in nodes:
                self._run(node.container, ["sh", "-euc", f"echo 1 >{IPV6}"])
        return {node.name: {"ipv4": four.get(node.address, []), "ipv6": six.get(node.link_local, [])} for node in nodes}

    def _nmap(self, addresses: Sequence[str], ports: str, *more: str) -> dict[str, list[int]]:
        # Nodes drop what they do not want, so that nmap would wait long for each port if it was left to itself.
        pace = ["--min-rate", "3000", "--max-retries", "2", "--max-rtt-timeout", "100ms", "--min-hostgroup", "64"]
        command = ["nmap", "-n", "-Pn", "-sS", "-p", ports, "--open", "-oG", "-", *pace, *more, *addresses]
        return open_ports(self._run(self._container, command))
