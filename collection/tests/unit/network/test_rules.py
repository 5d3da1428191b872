"""The options of the module static_address."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import (
    parse_parking,
    read_settings,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

RIGHT: dict[str, Any] = {"interface": "eth0", "address": "192.168.63.11", "prefix": 24, "gateway": "192.168.63.1"}


def test_settings_show_the_desired_state() -> None:
    assert str(read_settings(**RIGHT)) == "192.168.63.11/24 static via 192.168.63.1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"interface": "eth 0"},
            "interface is invalid: 'eth 0'; expected the name of a network interface such as eth0",
        ),
        ({"address": "192.168.63"}, "address or prefix is invalid: 192.168.63/24"),
        ({"prefix": 33}, "192.168.63.11/33"),
        ({"gateway": "router"}, "gateway is invalid: router"),
        ({"gateway": "10.0.0.1"}, "gateway is not usable: 10.0.0.1 is not another address in 192.168.63.0/24"),
        ({"gateway": "192.168.63.11"}, "not another address"),
        ({"dns": ["fritz.box"]}, "dns contains 'fritz.box'"),
        ({"address": "192.168.63.255"}, "192.168.63.255 is the network or broadcast address of 192.168.63.0/24"),
        (
            {"address": "192.168.63.16", "prefix": 28},
            "192.168.63.16 is the network or broadcast address of 192.168.63.16/28",
        ),
        ({"search": ["home.arpa; rm"]}, "search contains 'home.arpa; rm'"),
        ({"search": [""]}, "search contains ''"),
    ],
)
def test_bad_input_is_one_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        read_settings(**(RIGHT | change))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "top", "10.0.0.9-", "10.0.0.9-x", "10.0.0.9-10.0.0.8", "10.0.0.0/24"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="parking is invalid"):
        parse_parking(text)
