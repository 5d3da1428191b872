"""Somebody on the same network who has no business with the cluster, and looks at what its nodes let through."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from lab.engine import LABEL, Container
from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from lab.engine import Engine
    from lab.network import Network

NAME = "stranger"
# What a node's kernel is told while it is looked at, and what afterwards. The engine switches IPv6 off in its
# containers; a board has it. A kernel tells of closed ports once a second; here each of them counts.
LOOKED_AT = {
    "/proc/sys/net/ipv6/conf/eth0/disable_ipv6": (0, 1),
    "/proc/sys/net/ipv4/icmp_ratelimit": (0, 1000),
    "/proc/sys/net/ipv6/icmp/ratelimit": (0, 1000),
}
SSH_FAILED = 255
# Nobody's key, made on the spot; what is known of the node is not the question.
FOREIGN_KEY = ["sh", "-c", "test -e /root/key || ssh-keygen -q -t ed25519 -N '' -f /root/key"]
ATTEMPT = ["ssh", "-F", "none", "-i", "/root/key", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
ATTEMPT += ["-o", "ConnectTimeout=10", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"]


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


def ports_that(states: Collection[str], output: str) -> dict[str, list[int]]:
    """Ports in one of these states by address, as nmap's grepable output (-oG) has them; none may be no entry."""
    found: dict[str, list[int]] = {}
    for line in output.splitlines():
        match = re.match(r"Host: (\S+) .*Ports: ([^\t]*)", line)
        if match:
            ports = [entry.strip().split("/") for entry in match[2].split(",")]
            found[match[1]] = sorted(int(port[0]) for port in ports if port[1] in states)
    return found


def verdict(code: int, said: str) -> str:
    """What became of an attempt to log in: refused (it was heard), shut out (it was not), let in.

    Args:
        code: the exit code of ssh.
        said: its output.

    Raises:
        LabError: it failed for another reason, which proves nothing.
    """
    if code == 0:
        return "let in"
    if "Permission denied" in said:
        return "refused"
    # From OpenSSH 9.8 on, a source with penalties is hung up on before it is greeted.
    if code == SSH_FAILED and re.search(r"Connection (closed|reset) by|Not allowed at this time", said):
        return "shut out"
    raise LabError(f"an attempt to log in ended with {code}: {said.strip()}")


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

    def scan(self, targets: Iterable[Target], ports: str, udp: str = "") -> Mapping[str, Mapping[str, list[int]]]:
        """Open TCP ports by node and family; with `udp` also what answers by UDP.

        Args:
            targets: the nodes.
            ports: TCP ports, as nmap's -p takes them.
            udp: UDP ports likewise. One that says it is closed has answered too: the packet got through.

        Raises:
            LabError: nmap or a node would not.
        """
        nodes = list(targets)
        found: dict[str, dict[str, list[int]]] = {node.name: {} for node in nodes}
        with self._ready(nodes):
            for family, addresses, more in (
                ("ipv4", {node.name: node.address for node in nodes}, []),
                ("ipv6", {node.name: node.link_local for node in nodes}, ["-6"]),
            ):
                tcp = ports_that({"open"}, self._nmap("-sS", ports, addresses.values(), more))
                for name, address in addresses.items():
                    found[name][family] = tcp.get(address, [])
                if not udp:
                    continue
                answers = ports_that({"open", "closed"}, self._nmap("-sU", udp, addresses.values(), more))
                for name, address in addresses.items():
                    found[name][f"udp_{family}"] = answers.get(address, [])
        return found

    @contextmanager
    def _ready(self, nodes: Iterable[Target]) -> Iterator[None]:
        """Have the nodes' kernels answer as they should for a look, and no longer."""
        now, then = ("; ".join(f"echo {each[i]} >{path}" for path, each in LOOKED_AT.items()) for i in (0, 1))
        for node in nodes:
            lines = f"{now}; ip address replace {node.link_local}/64 dev eth0 nodad"
            self._run(node.container, ["sh", "-euc", lines])
        try:
            yield
        finally:
            for node in nodes:
                self._run(node.container, ["sh", "-euc", then])

    def _nmap(self, how: str, ports: str, addresses: Iterable[str], more: Sequence[str]) -> str:
        # Nodes drop what they do not want, so that nmap would wait long for each port if it was left to itself.
        pace = ["--min-rate", "3000", "--max-retries", "2", "--max-rtt-timeout", "100ms", "--min-hostgroup", "64"]
        links = [f"{address}%eth0" if "-6" in more else address for address in addresses]
        return self._run(self._container, ["nmap", "-n", "-Pn", how, "-p", ports, "-oG", "-", *pace, *more, *links])

    def knock(self, targets: Iterable[Target], user: str, times: int) -> Mapping[str, list[str]]:
        """What became of so many attempts, by node, to log in with a key that is nobody's.

        Raises:
            LabError: an attempt failed for a reason that says nothing about the node's sshd.
        """
        self._run(self._container, FOREIGN_KEY)
        found = {}
        for node in targets:
            command = [*ATTEMPT, f"{user}@{node.address}", "true"]
            found[node.name] = [verdict(*self._engine.execute(self._container, command)) for _ in range(times)]
        return found
