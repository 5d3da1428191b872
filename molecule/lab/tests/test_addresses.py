from __future__ import annotations

import pytest

from lab.addresses import LabNet, collision, hardware_address, outside_mtu, port_name
from lab.errors import LabError

NET = LabNet.parse("192.168.63.0/24")
ETH0 = {"ifname": "eth0", "mtu": 1400, "addr_info": [{"family": "inet", "local": "10.1.2.3", "prefixlen": 16}]}


def test_addresses_lie_where_the_contract_says() -> None:
    assert (NET.gateway, NET.node(1), NET.node(3)) == ("192.168.63.1", "192.168.63.11", "192.168.63.13")
    assert NET.pool == ("192.168.63.200", "192.168.63.250")


def test_no_node_ever_gets_an_address_of_the_pool() -> None:
    assert not NET.in_pool(NET.node(NET.room))
    assert NET.in_pool(NET.node(NET.room + 1))


@pytest.mark.parametrize(
    "text", ["", "192.168.63.0", "192.168.63.5/24", "8.8.8.0/24", "10.0.0.0/8", "fd00::/64", "red"]
)
def test_a_net_that_cannot_be_is_refused_with_what_it_was(text: str) -> None:
    with pytest.raises(LabError, match="--net wants") as caught:
        LabNet.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("local", "prefix"), [("192.168.63.77", 24), ("192.168.0.1", 16), ("192.168.63.129", 25), ("192.168.63.1", 32)]
)
def test_the_hosts_own_address_is_a_collision(local: str, prefix: int) -> None:
    link = {"ifname": "wlan0", "addr_info": [{"family": "inet", "local": local, "prefixlen": prefix}]}
    assert local in collision(NET, [ETH0, link], [])


def test_a_route_to_the_net_is_a_collision_and_named() -> None:
    assert "tun0" in collision(NET, [ETH0], [{"dst": "192.168.0.0/16", "dev": "tun0"}])
    assert "tun0" in collision(NET, [ETH0], [{"dst": "192.168.63.9", "dev": "tun0"}])


def test_what_does_not_touch_the_net_is_no_collision() -> None:
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "192.168.62.0/24", "dev": "tun0"},
        {"type": "broadcast", "dst": "192.168.63.255", "dev": "lo"},
        {"dst": "fe80::/64", "dev": "eth0"},
    ]
    six = {"ifname": "eth1", "addr_info": [{"family": "inet6", "local": "fd00::2", "prefixlen": 64}]}
    assert collision(NET, [ETH0, six], routes) == ""


def test_the_route_of_a_lab_that_was_not_taken_down_is_no_collision() -> None:
    left = {"dst": "192.168.63.0/24", "gateway": "172.17.0.2", "dev": "docker0"}
    assert collision(NET, [ETH0], [left]) == ""
    assert collision(NET, [ETH0], [left | {"dev": "eth0"}]) != ""


def test_packets_are_no_larger_than_the_way_out_takes() -> None:
    routes = [{"dst": "default", "dev": "eth0"}]
    assert outside_mtu([ETH0], routes) == 1400
    assert outside_mtu([ETH0 | {"mtu": 9000}], routes) == 1500
    assert outside_mtu([ETH0], []) == 1500


def test_a_boards_mac_address_stays_and_is_its_own() -> None:
    first = hardware_address("red", "red1")
    assert first == hardware_address("red", "red1")
    assert len({first, hardware_address("red", "red2"), hardware_address("blue", "red1")}) == 3
    # Locally administered, not multicast.
    assert int(first[:2], 16) & 0b11 == 0b10
    assert len(first) == 17


def test_a_cables_name_fits_the_kernel_and_is_its_own() -> None:
    names = ["red1", "a-very-long-cluster-name1", "a-very-long-cluster-name2"]
    ports = [port_name(name) for name in names]
    assert ports[0] == "to-red1"
    assert len(set(ports)) == 3
    assert all(len(port) <= 15 for port in ports)
