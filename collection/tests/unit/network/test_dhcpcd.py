"""dhcpcd's one file: two blocks of ours, every other line the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.network import dhcpcd
from ansible_collections.picluster.cloud.plugins.module_utils.network.plan import Wanted, make_wanted

if TYPE_CHECKING:
    from pathlib import Path

STOCK = "hostname\nclientid\npersistent\n"


def wanted(**change: object) -> Wanted:
    options: dict[str, object] = {"interface": "eth0", "address": "10.0.0.11", "prefix": 24, "gateway": "10.0.0.1"}
    return make_wanted(**(options | {"dns": ["10.0.0.1", "9.9.9.9"], "search": ["home.arpa"]} | change))  # type: ignore[arg-type]  # options of many types


def test_the_address_comes_last_and_what_concerns_all_interfaces_first() -> None:
    lines = dhcpcd.conf_text(STOCK, wanted()).splitlines()
    assert lines[1].startswith("denyinterfaces veth* docker* ")
    assert lines[3:6] == STOCK.splitlines()
    assert lines[7:-1] == [
        "interface eth0",
        "static ip_address=10.0.0.11/24",
        "static routers=10.0.0.1",
        "static domain_name_servers=10.0.0.1 9.9.9.9",
        "static domain_search=home.arpa",
    ]


def test_what_is_not_wanted_is_not_said() -> None:
    text = dhcpcd.conf_text(STOCK, wanted(dns=[], search=[]))
    assert "domain_name_servers" not in text
    assert "domain_search" not in text


def test_a_second_call_changes_nothing_and_another_address_replaces_ours() -> None:
    once = dhcpcd.conf_text(STOCK, wanted())
    assert dhcpcd.conf_text(once, wanted()) == once
    moved = dhcpcd.conf_text(once, wanted(address="10.0.0.12"))
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
    text = dhcpcd.conf_text(dhcpcd.conf_text(own, wanted()), wanted())
    assert own.rstrip("\n") in text
    assert text.index("denyinterfaces veth") < text.index(own) < text.index("static ip_address=10.0.0.11/24")


def test_the_file_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "dhcpcd.conf"
    conf.write_text(STOCK)
    conf.chmod(0o664)
    monkeypatch.setattr(dhcpcd, "CONF", str(conf))
    manager = dhcpcd.Dhcpcd(wanted(), lambda *_: "")
    assert manager.mode == 0o664
    assert STOCK in manager.text


def test_dhcpcd_starts_anew_for_a_change_and_for_its_way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dhcpcd.conf").touch()
    monkeypatch.setattr(dhcpcd, "CONF", str(tmp_path / "dhcpcd.conf"))
    asked: list[tuple[str, ...]] = []

    def run(*command: str) -> str:
        asked.append(command)
        return ""

    manager = dhcpcd.Dhcpcd(wanted(), run)
    manager.apply(moving=True)
    assert [" ".join(command) for command in asked] == [
        "systemctl stop dhcpcd.service",
        "ip -4 address flush dev eth0",
        "systemctl start dhcpcd.service",
    ]
    assert manager.back(manager.active(), manager.checkpoint()) == [list(command) for command in asked]
