from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.addresses import LabNet
from lab.errors import LabError
from lab.network import LEASES, Network
from lab.nodes import Boards

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.tests.fakes import FakeEngine

NET = LabNet.parse("192.168.63.0/24")


@pytest.fixture
def network(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setattr(Network, "_host", lambda _self: ([], []))
    return Network(engine, "red", NET, "picluster/gateway:1")


def no_cable(_name: str, words: Sequence[str]) -> tuple[int, str]:
    return (1, "") if words[0] == "test" else (0, "1400\n")


def test_the_gateway_serves_the_reservations_and_takes_no_name_on_the_host(
    network: Network, engine: FakeEngine, tmp_path: Path
) -> None:
    network.start_gateway(tmp_path)
    started = engine.containers["red-gateway"]
    script = started.command[-1]
    assert "--dhcp-hostsfile=/etc/picluster/reservations.dnsmasq" in script
    assert "--dhcp-range=192.168.63.200,192.168.63.250," in script
    assert "ip address add 192.168.63.1/24 dev br0" in script
    assert started.network == ""
    assert engine.helpers == ["ip route replace 192.168.63.0/24 via 172.17.0.9"]


def test_nodes_see_the_host_as_the_gateway(network: Network, engine: FakeEngine, tmp_path: Path) -> None:
    # The host's own address would be the one of the node's docker0.
    network.start_gateway(tmp_path)
    assert 'oifname "br0" ip saddr != 192.168.63.0/24 masquerade' in engine.containers["red-gateway"].command[-1]


def test_a_running_gateway_stays_and_reads_its_reservations_again(
    network: Network, engine: FakeEngine, tmp_path: Path
) -> None:
    network.start_gateway(tmp_path)
    before = engine.containers["red-gateway"]
    network.start_gateway(tmp_path)
    assert engine.containers["red-gateway"] is before
    assert ("red-gateway", ("sh", "-c", "kill -HUP 1")) in engine.executed


def test_another_labs_net_is_refused_by_its_name(network: Network, engine: FakeEngine, tmp_path: Path) -> None:
    network.start_gateway(tmp_path)
    with pytest.raises(LabError, match="in use by the lab red"):
        Network(engine, "blue", NET, "picluster/gateway:1").check_free()
    Network(engine, "blue", LabNet.parse("192.168.64.0/24"), "picluster/gateway:1").check_free()
    network.check_free()


def test_only_nodes_without_a_cable_get_one(network: Network, engine: FakeEngine, tmp_path: Path) -> None:
    network.start_gateway(tmp_path)
    for node in ("red1", "red2"):
        Boards(engine, "red").power_on(node, "image", tmp_path)
    engine.helpers.clear()
    engine.answer = lambda name, words: (0, "") if name == "red-red1" else no_cable(name, words)
    network.plug(["red1", "red2"])
    assert len(engine.helpers) == 1
    assert "to-red1" not in engine.helpers[0]
    # Gateway and node by the engine's process ids; both ends of the same size.
    assert "ip link add name to-red2 mtu 1400 netns 1000 type veth peer name eth0 mtu 1400" in engine.helpers[0]
    assert "netns 1002" in engine.helpers[0]
    engine.answer = lambda _name, _words: (0, "")
    network.plug(["red1", "red2"])
    assert len(engine.helpers) == 1


def test_a_cable_is_pulled_at_the_gateways_end(network: Network, engine: FakeEngine, tmp_path: Path) -> None:
    network.start_gateway(tmp_path)
    network.switch("red2", on=False)
    assert engine.executed[-1] == ("red-gateway", ("ip", "link", "set", "to-red2", "down"))
    network.switch("red2", on=True)
    assert engine.executed[-1] == ("red-gateway", ("ip", "link", "set", "to-red2", "up"))
    engine.answer = lambda _name, _words: (1, "Cannot find device")
    with pytest.raises(LabError, match="red9 could not be switched: Cannot find device"):
        network.switch("red9", on=False)


def test_a_gateway_that_is_off_is_told_before_anything_is_plugged(
    network: Network, engine: FakeEngine, tmp_path: Path
) -> None:
    network.start_gateway(tmp_path)
    engine.off.add("red-gateway")
    with pytest.raises(LabError, match="gateway of the lab red does not run"):
        network.plug([])


def test_leases_are_read_by_mac_address(network: Network, engine: FakeEngine, tmp_path: Path) -> None:
    lines = (
        "1795469099 02:75:29:41:7f:4e 192.168.63.11 red1 00:72:65:64:31\n"
        "1795469099 02:aa:bb:cc:dd:ee 192.168.63.219 * *\n"
    )
    engine.answer = lambda _name, words: (0, lines) if words == ["cat", LEASES] else (1, "")
    assert network.leases() == {"02:75:29:41:7f:4e": "192.168.63.11", "02:aa:bb:cc:dd:ee": "192.168.63.219"}
