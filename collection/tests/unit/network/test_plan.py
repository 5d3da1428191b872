"""The static address: the files, and the kernel's state."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.picluster.cloud.plugins.module_utils.network import plan
from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import AddressSettings, read_settings
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def settings(**change: Any) -> AddressSettings:
    options = {
        "interface": "eth0",
        "address": "192.168.63.11",
        "prefix": 24,
        "gateway": "192.168.63.1",
        "dns": ["192.168.63.1", "fd00::1"],
    }
    return read_settings(**(options | change))


def links(**info: object) -> str:
    return json.dumps(
        [
            {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]},
            {"ifname": "eth0", "addr_info": [info] if info else []},
        ]
    )


DHCP = links(local="192.168.63.11", prefixlen=24, dynamic=True, valid_life_time=3600)
STATIC = links(local="192.168.63.11", prefixlen=24, valid_life_time=4294967295)


def test_the_drop_in_turns_dhcp_off_on_the_same_interface_and_renderer() -> None:
    loaded = yaml.safe_load(plan.netplan_text(settings(), "NetworkManager"))
    assert loaded["network"]["ethernets"]["eth0"] == {
        "renderer": "NetworkManager",
        "dhcp4": False,
        "addresses": ["192.168.63.11/24"],
        "routes": [{"to": "default", "via": "192.168.63.1"}],
        "nameservers": {"addresses": ["192.168.63.1", "fd00::1"]},
        "networkmanager": {"passthrough": {"connection.autoconnect-priority": "100"}},
    }


def test_what_is_networkmanager_s_own_is_kept_from_networkd() -> None:
    eth0 = yaml.safe_load(plan.netplan_text(settings(dns=[]), "networkd"))["network"]["ethernets"]["eth0"]
    assert eth0["renderer"] == "networkd"
    assert "networkmanager" not in eth0
    assert "nameservers" not in eth0


def test_short_names_are_looked_up_in_the_search_domains() -> None:
    domains = settings(search=["home.arpa", "lab.example"])
    servers = yaml.safe_load(plan.netplan_text(domains, "networkd"))["network"]["ethernets"]["eth0"]["nameservers"]
    assert servers["search"] == ["home.arpa", "lab.example"]
    assert "\ndns-search=home.arpa;lab.example;\n\n[ipv6]" in plan.keyfile_text(domains)


def test_the_profile_has_address_router_and_a_uuid_that_never_changes() -> None:
    text = plan.keyfile_text(settings())
    assert "address1=192.168.63.11/24,192.168.63.1\ndns=192.168.63.1;\n" in text
    assert text.endswith("[ipv6]\nmethod=auto\ndns=fd00::1;\n")
    assert "autoconnect-priority=100" in text
    assert text == plan.keyfile_text(settings())


STOCK = "hostname\nclientid\npersistent\n"
DOMAIN = settings(search=["home.arpa"])


def test_the_address_comes_last_and_what_concerns_all_interfaces_first() -> None:
    lines = plan.dhcpcd_text(STOCK, DOMAIN).splitlines()
    assert lines[1].startswith("denyinterfaces veth* docker* ")
    assert lines[3:6] == STOCK.splitlines()
    assert lines[7:-1] == [
        "interface eth0",
        "static ip_address=192.168.63.11/24",
        "static routers=192.168.63.1",
        "static domain_name_servers=192.168.63.1 fd00::1",
        "static domain_search=home.arpa",
    ]


def test_an_empty_value_is_left_out() -> None:
    text = plan.dhcpcd_text(STOCK, settings(dns=[]))
    assert "domain_name_servers" not in text
    assert "domain_search" not in text


def test_a_second_call_changes_nothing_and_another_address_replaces_ours() -> None:
    once = plan.dhcpcd_text(STOCK, DOMAIN)
    assert plan.dhcpcd_text(once, DOMAIN) == once
    moved = plan.dhcpcd_text(once, settings(address="192.168.63.12", search=["home.arpa"]))
    assert moved == once.replace("192.168.63.11/24", "192.168.63.12/24")


@pytest.mark.parametrize(
    "own",
    [
        "denyinterfaces wlan1\n",
        "interface eth0\nstatic ip_address=10.0.0.99/24\n",
        "# a comment\n\ninterface wlan0\nnohook wpa_supplicant",
    ],
)
def test_the_user_s_own_lines_stay(own: str) -> None:
    text = plan.dhcpcd_text(plan.dhcpcd_text(own, DOMAIN), DOMAIN)
    assert own.rstrip("\n") in text
    assert text.index("denyinterfaces veth") < text.index(own) < text.index("static ip_address=192.168.63.11/24")


def test_a_lease_is_not_a_static_address() -> None:
    assert not plan.is_there(settings(), plan.parse_addresses(DHCP), {"192.168.63.1"})
    assert plan.is_there(settings(), plan.parse_addresses(STATIC), {"192.168.63.1"})


def test_the_right_address_with_the_wrong_bits_or_router_is_not_right() -> None:
    live = plan.parse_addresses(STATIC)
    assert not plan.is_there(settings(prefix=25), live, {"192.168.63.1"})
    assert not plan.is_there(settings(), live, {"192.168.63.254"})


def test_only_routers_of_the_interface_count() -> None:
    routes = json.dumps(
        [
            {"dst": "default", "gateway": "192.168.63.1", "dev": "eth0"},
            {"dst": "default", "gateway": "10.0.0.1", "dev": "wlan0"},
            {"dst": "default", "dev": "tun0"},
        ]
    )
    assert plan.parse_gateways(routes, "eth0") == {"192.168.63.1"}
    assert plan.parse_gateways("", "eth0") == set()


def test_a_node_at_another_address_may_move() -> None:
    live = plan.parse_addresses(links(local="192.168.63.150", prefixlen=24, dynamic=True))
    plan.check_interface(settings(), live, ["eth0", "lo"])


def test_a_wrong_interface_is_named_with_the_right_one() -> None:
    live = plan.parse_addresses(DHCP)
    interfaces = ["end0", "eth0", "lo"]
    with pytest.raises(UserError, match="this node has no eth1, it has end0, eth0; set interface"):
        plan.check_interface(settings(interface="eth1"), live, interfaces)
    with pytest.raises(UserError, match=r"192\.168\.63\.11 is on eth0, not on end0; set interface to eth0"):
        plan.check_interface(settings(interface="end0"), live, interfaces)


@pytest.mark.parametrize("parse", [plan.parse_addresses, lambda output: plan.parse_gateways(output, "eth0")])
def test_output_that_is_not_json_is_a_bug_and_not_advice_for_the_user(parse: Callable[[str], object]) -> None:
    with pytest.raises(json.JSONDecodeError):
        parse("Object is unknown")


OLD = plan.Live("eth0", "192.168.63.150", 24, static=False)
OWN = plan.Live("eth0", "192.168.63.11", 24, static=True)
VIRTUAL = plan.Live("eth0", "192.168.63.9", 32, static=True)
WLAN = plan.Live("wlan0", "192.168.63.151", 24, static=False)


@pytest.mark.parametrize(
    ("live", "server", "former"),
    [
        ([OLD], "192.168.63.150", OLD),
        ([OLD], "", OLD),
        # A run that came to the old address while the node had both.
        ([OWN, OLD], "192.168.63.150", OLD),
        ([OWN], "192.168.63.11", None),
        ([OWN, OLD], "192.168.63.11", None),
        # An address that some program moves from node to node is nobody's to leave.
        ([VIRTUAL], "192.168.63.9", None),
        ([WLAN], "192.168.63.151", None),
        ([WLAN, OLD], "192.168.63.151", OLD),
    ],
)
def test_the_address_that_is_left_is_the_one_the_controller_came_to(
    live: list[plan.Live], server: str, former: plan.Live | None
) -> None:
    assert plan.former_address(settings(), live, server) == former


def test_the_former_address_answers_by_its_own_router_and_the_wanted_one_never_does() -> None:
    commands = [" ".join(command) for command in plan.keep_former(OLD, {"192.168.63.254", "10.0.0.1"})]
    assert commands == [
        "ip address replace 192.168.63.150/32 dev eth0",
        "ip route replace 192.168.63.0/24 src 192.168.63.150 dev eth0 table 4411",
        "ip route replace default via 192.168.63.254 dev eth0 table 4411 onlink",
        "ip rule add from 192.168.63.150 priority 4411 lookup 4411",
    ]


def test_a_former_address_without_a_router_is_kept_too() -> None:
    assert not any("default" in command for command in plan.keep_former(OLD, set()))


def test_the_former_address_is_forgotten_in_every_form() -> None:
    assert "192.168.63.150/24" in plan.keep_plainly(OLD)
    script = plan.forget_former(OLD)[2]
    for part in ("priority 4411", "flush table 4411", "192.168.63.150/32 dev eth0", "192.168.63.150/24 dev eth0"):
        assert part in script
    # Whatever of it is not there.
    assert script.endswith("; true")


def _fake_ip(folder: Path, said: str) -> dict[str, str]:
    (folder / "ip").write_text(f"#!/bin/sh\necho \"$*\" >>{folder}/log\ncase $2 in address) echo '{said}' ;; esac\n")
    (folder / "ip").chmod(0o755)
    (folder / "sleep").write_text("#!/bin/sh\n")
    (folder / "sleep").chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_the_kept_address_ends_once_the_former_address_is_back(tmp_path: Path) -> None:
    environment = _fake_ip(tmp_path, "inet 192.168.63.150/24 brd 192.168.63.255 scope global eth0")
    subprocess.run(plan.return_to_former(OLD), env=environment, check=True)
    assert (tmp_path / "log").read_text().splitlines() == [
        "-4 address show dev eth0",
        "rule delete priority 4411",
        "route flush table 4411",
        "address delete 192.168.63.150/32 dev eth0",
    ]


def test_the_kept_address_stays_where_the_former_address_never_comes_back(tmp_path: Path) -> None:
    environment = _fake_ip(tmp_path, "inet 192.168.63.150/32 scope global eth0")
    subprocess.run(plan.return_to_former(OLD), env=environment, check=True)
    assert set((tmp_path / "log").read_text().splitlines()) == {"-4 address show dev eth0"}
