"""The options of the module identity, and the architecture of a node."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.identity.rules import (
    check_arch,
    check_options,
    check_servers,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError


@pytest.mark.parametrize(("userland", "machine"), [("arm64", "aarch64"), ("amd64", "x86_64"), ("armhf", "armv7l")])
def test_a_node_that_is_what_the_inventory_says_is_fine(userland: str, machine: str) -> None:
    check_arch("red1", userland, userland, machine)


def test_a_64_bit_kernel_with_a_32_bit_userland_is_found_out() -> None:
    with pytest.raises(UserError, match=r"red3 runs armhf programs \(kernel: aarch64\); set arch to armhf, or burn"):
        check_arch("red3", "arm64", "armhf", "aarch64")


def test_armv6_is_refused_whatever_dpkg_calls_it() -> None:
    with pytest.raises(UserError, match="the board is not supported: red3 is armv6l"):
        check_arch("red3", "armhf", "armhf", "armv6l")


GOOD: dict[str, Any] = {
    "hostname": "red1",
    "hosts": {"red1": "192.168.63.11", "red2": "192.168.63.12"},
    "timezone": "Europe/Berlin",
    "locale": "de_DE.UTF-8",
    "ntp_servers": ["192.168.63.1", "ntp.example.org"],
}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"hostname": "Red_1", "hosts": {"Red_1": "10.0.0.1"}}, "RFC 1123"),
        ({"hostname": "red1.local", "hosts": {"red1.local": "10.0.0.1"}}, "RFC 1123"),
        ({"hosts": {"red2": "10.0.0.1"}}, "no entry for red1"),
        ({"hosts": {"red1": "10.0.0.1", "red2": "10.0.0"}}, "red2 has the address '10.0.0'"),
        ({"timezone": "../../etc/shadow"}, "timezone is unknown: '../../etc/shadow'"),
        ({"timezone": "Berlin time"}, "timezone is unknown: 'Berlin time'"),
        ({"locale": "german"}, "locale is invalid: 'german'"),
        ({"locale": "de_DE.UTF-8\nLC_ALL=C"}, "locale is"),
        ({"ntp_servers": ["ntp.example.org; reboot"]}, "ntp_servers contains 'ntp.example.org; reboot'"),
    ],
)
def test_bad_input_is_one_sentence(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        check_options({**GOOD, **wrong})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("server", ["ntp.example.org", "10.0.0.1", "fd00::1", "router", "0.debian.pool.ntp.org"])
def test_names_and_addresses_are_servers(server: str) -> None:
    check_servers([server])


@pytest.mark.parametrize("server", ["", "10.0.0", "a b", "http://x", "-x", "x\ny", 7])
def test_what_is_no_server_is_named(server: Any) -> None:
    with pytest.raises(UserError, match="expected host names or addresses"):
        check_servers(["10.0.0.1", server])
