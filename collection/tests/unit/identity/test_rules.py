"""What makes a node itself: its architecture, the options of the module, and what comes first."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest

from ansible_collections.picluster.cloud.plugins.modules import identity


@pytest.mark.parametrize(("userland", "machine"), [("arm64", "aarch64"), ("amd64", "x86_64"), ("armhf", "armv7l")])
def test_a_node_that_is_what_the_inventory_says_is_fine(userland: str, machine: str) -> None:
    assert identity.arch_problem("red1", userland, userland, machine) is None


def test_a_64_bit_kernel_with_a_32_bit_userland_is_found_out() -> None:
    problem = identity.arch_problem("red3", "arm64", "armhf", "aarch64")
    assert problem is not None
    assert "built for armhf (kernel: aarch64)" in problem
    assert "node_arch: armhf for red3" in problem


def test_armv6_is_refused_whatever_dpkg_calls_it() -> None:
    problem = identity.arch_problem("red3", "armhf", "armhf", "armv6l")
    assert problem is not None
    assert "armv6l board" in problem


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
        ({"hosts": {"red1": "10.0.0.1", "red2": "10.0.0"}}, "red2 the address '10.0.0'"),
        ({"timezone": "../../etc/shadow"}, "timezone is '../../etc/shadow'"),
        ({"timezone": "Berlin time"}, "timezone is 'Berlin time'"),
        ({"locale": "german"}, "locale is 'german'"),
        ({"locale": "de_DE.UTF-8\nLC_ALL=C"}, "locale is"),
        ({"ntp_servers": ["ntp.example.org; reboot"]}, "ntp_servers has 'ntp.example.org; reboot'"),
    ],
)
def test_bad_input_is_one_sentence(wrong: dict[str, Any], words: str) -> None:
    problem = identity.bad_input({**GOOD, **wrong})
    assert problem is not None
    assert words in problem
    assert "\n" not in problem


def test_good_input_has_no_problem() -> None:
    assert identity.bad_input(GOOD) is None


def test_the_mac_of_an_interface_that_is_not_there_is_empty() -> None:
    assert identity.mac_of("lo") == "00:00:00:00:00:00"
    assert identity.mac_of("nowhere0") == ""


def test_the_clock_comes_before_all_that_a_wrong_one_would_spoil(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Part:
        """Stands in for every part of the node."""

        def __init__(self, *_: Any) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            return lambda *_: done.append(name) or ""

    for part in ("Clock", "MachineId", "Region", "TimeSync", "TextFiles"):
        monkeypatch.setattr(identity, part, Part)
    for name in ("set_hostname", "set_hosts"):
        monkeypatch.setattr(identity.Node, name, lambda *_, name=name: done.append(name))
    more = {"controller_time": 1.0, "controller_uptime": 1.0, "taken_machine_id": "", "lock_timeout": 1}
    identity.Node(MagicMock()).converge({**GOOD, **more})
    assert done == ["set_right", "set_hostname", "set_hosts", "settle", "set_timezone", "set_locale", "converge"]


def test_by_the_time_alone_at_which_the_controller_asked_no_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(identity.Clock, "set_right", forbidden)
    for name in ("set_hostname", "set_hosts"):
        monkeypatch.setattr(identity.Node, name, lambda *_: None)
    for part in ("MachineId", "Region", "TimeSync"):
        monkeypatch.setattr(identity, part, MagicMock())
    more = {"controller_time": 1.0, "controller_uptime": None, "taken_machine_id": "", "lock_timeout": 1}
    identity.Node(MagicMock()).converge({**GOOD, **more})
