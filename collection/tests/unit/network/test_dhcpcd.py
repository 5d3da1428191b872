"""dhcpcd's one file: two blocks of ours, every other line the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.network import dhcpcd
from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import AddressSettings, read_settings

if TYPE_CHECKING:
    from pathlib import Path

STOCK = "hostname\nclientid\npersistent\n"


def settings(**change: Any) -> AddressSettings:
    options = {"interface": "eth0", "address": "10.0.0.11", "prefix": 24, "gateway": "10.0.0.1"}
    return read_settings(**(options | {"dns": ["10.0.0.1", "9.9.9.9"], "search": ["home.arpa"]} | change))


def test_the_address_comes_last_and_what_concerns_all_interfaces_first() -> None:
    lines = dhcpcd.conf_text(STOCK, settings()).splitlines()
    assert lines[1].startswith("denyinterfaces veth* docker* ")
    assert lines[3:6] == STOCK.splitlines()
    assert lines[7:-1] == [
        "interface eth0",
        "static ip_address=10.0.0.11/24",
        "static routers=10.0.0.1",
        "static domain_name_servers=10.0.0.1 9.9.9.9",
        "static domain_search=home.arpa",
    ]


def test_an_empty_value_is_left_out() -> None:
    text = dhcpcd.conf_text(STOCK, settings(dns=[], search=[]))
    assert "domain_name_servers" not in text
    assert "domain_search" not in text


def test_a_second_call_changes_nothing_and_another_address_replaces_ours() -> None:
    once = dhcpcd.conf_text(STOCK, settings())
    assert dhcpcd.conf_text(once, settings()) == once
    moved = dhcpcd.conf_text(once, settings(address="10.0.0.12"))
    assert moved == once.replace("10.0.0.11/24", "10.0.0.12/24")


@pytest.mark.parametrize(
    "own",
    [
        "denyinterfaces wlan1\n",
        "interface eth0\nstatic ip_address=10.0.0.99/24\n",
        "# a comment\n\ninterface wlan0\nnohook wpa_supplicant",
    ],
)
def test_the_user_s_own_lines_stay(own: str) -> None:
    text = dhcpcd.conf_text(dhcpcd.conf_text(own, settings()), settings())
    assert own.rstrip("\n") in text
    assert text.index("denyinterfaces veth") < text.index(own) < text.index("static ip_address=10.0.0.11/24")


def test_the_file_keeps_its_mode(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    node.write(dhcpcd.CONF, STOCK, 0o664)
    manager = dhcpcd.Dhcpcd(settings(), node)
    assert manager.mode == 0o664
    assert STOCK in manager.text


def test_dhcpcd_is_restarted_for_a_change_and_for_its_way_back(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, {"ip -4 address flush": ""})
    node.write(dhcpcd.CONF, "")
    manager = dhcpcd.Dhcpcd(settings(), node)
    manager.apply(moving=True)
    assert node.commands == [
        "systemctl stop dhcpcd.service",
        "ip -4 address flush dev eth0",
        "systemctl start dhcpcd.service",
    ]
    assert [" ".join(command) for command in manager.back(manager.active(), manager.checkpoint())] == node.commands
