"""The lab's network: a gateway container with a bridge, dnsmasq and a way out, and a cable from it to each node.

Nodes are run without any network of the engine's; what they have is one interface whose other end is on the gateway's
bridge, as a board has one socket. All that needs rights on the host is done from a short-lived helper container, so
that a user who may only use the engine can do it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

from lab.addresses import LabNet, collision, hardware_address, outside_mtu, port_name
from lab.engine import LABEL, Container
from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.engine import Engine, Status

NET_LABEL = "picluster.net"
LEASES = "/var/lib/misc/dnsmasq.leases"
RESERVATIONS = "reservations.dnsmasq"

# The host reaches the nodes under the gateway's address: its own on the engine's bridge is, as a rule, the very one
# that a node's own Docker takes for its bridge, and all answers would stay inside the node from then on.
GATEWAY_SCRIPT = """
set -eu
ip link add br0 type bridge
ip link set br0 mtu {mtu} up
ip address add {gateway}/24 dev br0
nft -f - <<RULES
table ip picluster {{
  chain masks {{
    type nat hook postrouting priority srcnat;
    ip saddr {net} ip daddr != {net} oifname "eth0" masquerade
    oifname "br0" ip saddr != {net} masquerade
  }}
}}
RULES
mkdir -p /var/lib/misc
exec dnsmasq --keep-in-foreground --conf-file=/dev/null --log-facility=- --log-dhcp --user=root --no-hosts \
  --interface=br0 --except-interface=lo --bind-dynamic --dhcp-authoritative --dhcp-range={first},{last},12h \
  --dhcp-option=option:mtu,{mtu} --dhcp-hostsfile=/etc/picluster/{reservations} --dhcp-leasefile={leases}
"""

# Both ends are made inside the two containers' namespaces at once: nothing of it ever shows up on the host.
CABLE = (
    "ip link add name {port} mtu {mtu} netns {gateway} type veth peer name eth0 mtu {mtu} address {mac} netns {node}"
)


class Network:
    """The network of one cluster."""

    def __init__(self, engine: Engine, cluster: str, net: LabNet, image: str) -> None:
        self._engine = engine
        self._cluster = cluster
        self._image = image
        self.net = net
        self.gateway_name = f"{cluster}-gateway"

    def check_free(self) -> None:
        """Make sure that the net is nobody else's.

        Raises:
            LabError: it is the host's or another lab's.
        """
        for name in self._engine.names(""):
            found = self._engine.status(name)
            if found is None or NET_LABEL not in found.labels or found.labels.get(LABEL) == self._cluster:
                continue
            other = LabNet.parse(found.labels[NET_LABEL])
            if other.network.overlaps(self.net.network):
                raise LabError(
                    f"The net {self.net} is in use by the lab {found.labels[LABEL]}; choose another: NET=10.9.8.0/24."
                )
        taken = collision(self.net, *self._host())
        if taken:
            raise LabError(f"The net {self.net} collides with {taken}; choose another: NET=10.9.8.0/24.")

    def _host(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        said = []
        for subject in (["address"], ["-4", "route", "show", "table", "all"]):
            try:
                done = subprocess.run(["ip", "-json", *subject], capture_output=True, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise LabError(
                    f"The host's network cannot be read ({error}); molecule/lab/host-setup installs ip."
                ) from error
            said.append(json.loads(done.stdout or "[]"))
        return said[0], said[1]

    def start_gateway(self, folder: Path) -> None:
        """Have the gateway running, with the reservations in this folder, and the host's route to it."""
        found = self._engine.status(self.gateway_name)
        if found is not None and (found.image != self._image or found.labels.get(NET_LABEL) != str(self.net)):
            self._engine.remove([self.gateway_name])
            found = None
        if found is None:
            self.check_free()
            first, last = self.net.pool
            script = GATEWAY_SCRIPT.format(
                mtu=outside_mtu(*self._host()),
                gateway=self.net.gateway,
                net=self.net,
                first=first,
                last=last,
                reservations=RESERVATIONS,
                leases=LEASES,
            )
            self._engine.start(
                Container(
                    image=self._image,
                    name=self.gateway_name,
                    hostname="gateway",
                    command=["sh", "-c", script],
                    capabilities=["NET_ADMIN", "NET_RAW"],
                    sysctls={"net.ipv4.ip_forward": "1"},
                    binds=[(folder, "/etc/picluster", "ro")],
                    labels={LABEL: self._cluster, NET_LABEL: str(self.net)},
                )
            )
        elif not found.running:
            self._engine.again(self.gateway_name, kill=False)
        else:
            # Tells dnsmasq to read the reservations again.
            self._engine.execute(self.gateway_name, ["sh", "-c", "kill -HUP 1"])
        self._helper([f"ip route replace {self.net} via {self._gateway().address}"])

    def _gateway(self) -> Status:
        found = self._engine.status(self.gateway_name)
        if found is None or not found.running:
            raise LabError(
                f"The gateway of the lab {self._cluster} does not run; look at: docker logs {self.gateway_name}"
            )
        return found

    def plug(self, nodes: Sequence[str]) -> None:
        """Give each node its cable, unless it has one."""
        gateway = self._gateway()
        lines = []
        for node in nodes:
            found = self._engine.status(f"{self._cluster}-{node}")
            if found is None or not found.running:
                raise LabError(f"The node {node} does not run; look at: docker logs {self._cluster}-{node}")
            if self._engine.execute(found.name, ["test", "-e", "/sys/class/net/eth0"])[0] == 0:
                continue
            # The old cable's end may linger for a moment after its node went away.
            lines.append(f"nsenter -t {gateway.pid} -n ip link delete {port_name(node)} 2>/dev/null || true")
            lines.append(
                CABLE.format(
                    port=port_name(node),
                    mtu=self._mtu(),
                    gateway=gateway.pid,
                    mac=hardware_address(self._cluster, node),
                    node=found.pid,
                )
            )
            lines.append(f"nsenter -t {gateway.pid} -n ip link set {port_name(node)} master br0 up")
        if lines:
            self._helper(lines)

    def _mtu(self) -> int:
        code, said = self._engine.execute(self.gateway_name, ["cat", "/sys/class/net/br0/mtu"])
        if code != 0:
            raise LabError(f"The gateway of the lab {self._cluster} has no bridge: {said.strip()}")
        return int(said)

    def switch(self, node: str, *, on: bool) -> None:
        """Pull a node's cable, or plug it in again: the node sees its carrier go and come."""
        code, said = self._engine.execute(
            self.gateway_name, ["ip", "link", "set", port_name(node), "up" if on else "down"]
        )
        if code != 0:
            raise LabError(f"The cable of {node} could not be switched: {said.strip()}")

    def leases(self) -> dict[str, str]:
        """Address by MAC address of all leases that dnsmasq has given."""
        code, said = self._engine.execute(self.gateway_name, ["cat", LEASES])
        if code != 0:
            raise LabError(f"The leases of {self.gateway_name} cannot be read: {said.strip()}")
        return {fields[1]: fields[2] for fields in (line.split() for line in said.splitlines()) if len(fields) > 2}  # noqa: PLR2004 - time, MAC, address

    def forget(self) -> None:
        """Take the host's route away."""
        self._helper([f"ip route delete {self.net} 2>/dev/null || true"])

    def _helper(self, lines: Sequence[str]) -> None:
        """Run lines in the host's network, with the host's process ids."""
        self._engine.once(
            Container(
                image=self._image,
                command=["sh", "-euc", "\n".join(lines)],
                network="host",
                pid="host",
                capabilities=["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"],
                unconfined=True,
                labels={"picluster.helper": shlex.quote(self._cluster)},
            )
        )
