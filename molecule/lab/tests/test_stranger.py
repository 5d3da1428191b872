"""The stranger: what nmap says, and that nothing of the looking stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.addresses import LabNet
from lab.errors import LabError
from lab.network import Network
from lab.stranger import Stranger, Target, ports_that, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.tests.fakes import FakeEngine

# Said by nmap 7.95.
FOUR = """\
# Nmap 7.95 scan initiated as: nmap -n -Pn -sS -p 22,80,8080 --open -oG - 192.168.63.11 192.168.63.12
Host: 192.168.63.11 ()\tStatus: Up
Host: 192.168.63.11 ()\tPorts: 8080/open/tcp//http-proxy///, 22/open/tcp//ssh///, 80/filtered/tcp//http///
# Nmap done -- 2 IP addresses (2 hosts up) scanned in 1.33 seconds
"""
UDP = "Host: 192.168.63.12 ()\tPorts: 53/closed/udp//domain///, 67/open|filtered/udp//dhcps///, 161/open/udp//snmp///\n"
SIX = "Host: fe80::12 ()\tPorts: 22/open/tcp//ssh///\n"
NODES = [Target("red1", "red-red1", "192.168.63.11"), Target("red2", "red-red2", "192.168.63.12")]


@pytest.fixture
def network(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Network:
    monkeypatch.setattr(Network, "_host", lambda _self: ([], []))
    made = Network(engine, "red", LabNet.parse("192.168.63.0/24"), "picluster/gateway:1")
    made.start_gateway(tmp_path)
    return made


def answer(_name: str, words: Sequence[str]) -> tuple[int, str]:
    if words[0] == "nmap":
        return 0, "" if "-sU" in words and "-6" in words else UDP if "-sU" in words else SIX if "-6" in words else FOUR
    return (1, "") if words[0] == "test" else (0, "1400\n")


def test_only_what_is_open_counts() -> None:
    assert ports_that({"open"}, FOUR) == {"192.168.63.11": [22, 8080]}


def test_a_udp_port_that_says_it_is_closed_has_been_reached() -> None:
    assert ports_that({"open", "closed"}, UDP) == {"192.168.63.12": [53, 161]}


def test_each_node_is_looked_at_by_both_families_and_nothing_stays(network: Network, engine: FakeEngine) -> None:
    engine.answer = answer
    with Stranger(engine, network, "red", "picluster/gateway:1") as stranger:
        found = stranger.scan(NODES, "1-65535")
        assert "ip link add name to-stranger" in engine.helpers[-1]
        assert ("red-stranger", ("ip", "address", "add", "192.168.63.253/24", "dev", "eth0")) in engine.executed
    assert found == {"red1": {"ipv4": [22, 8080], "ipv6": []}, "red2": {"ipv4": [], "ipv6": [22]}}
    assert "red-stranger" not in engine.containers
    for node in NODES:
        lines = [words[-1] for name, words in engine.executed if name == node.container]
        assert lines[0].startswith(
            "echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; echo 0 >/proc/sys/net/ipv4/icmp_rate"
        )
        assert lines[-1].startswith("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; echo 1000 >")


def test_udp_is_looked_at_where_it_is_asked_for(network: Network, engine: FakeEngine) -> None:
    engine.answer = answer
    with Stranger(engine, network, "red", "picluster/gateway:1") as stranger:
        found = stranger.scan(NODES, "22", "53,67,161")
    assert found["red2"] == {"ipv4": [], "udp_ipv4": [53, 161], "ipv6": [22], "udp_ipv6": []}


@pytest.mark.parametrize(
    ("code", "said", "what"),
    [
        (0, "", "let in"),
        (255, "pi@192.168.63.11: Permission denied (publickey).", "refused"),
        (255, "kex_exchange_identification: Connection closed by remote host", "shut out"),
        (255, "Connection reset by 192.168.63.12 port 22", "shut out"),
        (255, "Not allowed at this time", "shut out"),
    ],
)
def test_what_became_of_an_attempt(code: int, said: str, what: str) -> None:
    assert verdict(code, said) == what


@pytest.mark.parametrize(("code", "said"), [(255, "Connection timed out"), (124, ""), (127, "ssh: not found")])
def test_an_attempt_that_proves_nothing_is_told(code: int, said: str) -> None:
    with pytest.raises(LabError, match=f"ended with {code}"):
        verdict(code, said)


def test_a_stranger_tries_as_often_as_asked_and_leaves(network: Network, engine: FakeEngine) -> None:
    refused = (255, "Permission denied (publickey).")
    engine.answer = lambda name, words: refused if words[0] == "ssh" else answer(name, words)
    with Stranger(engine, network, "red", "picluster/card:1") as stranger:
        assert stranger.knock(NODES, "pi", 3) == {"red1": ["refused"] * 3, "red2": ["refused"] * 3}
    tried = [words[-2] for name, words in engine.executed if name == "red-stranger" and words[0] == "ssh"]
    assert tried == ["pi@192.168.63.11"] * 3 + ["pi@192.168.63.12"] * 3
    assert "red-stranger" not in engine.containers


def test_ports_that_nmap_does_not_understand_end_in_one_sentence(network: Network, engine: FakeEngine) -> None:
    engine.answer = lambda name, words: (
        (1, "Your port specifications are illegal.") if words[0] == "nmap" else answer(name, words)
    )
    with pytest.raises(LabError, match="port specifications are illegal"), Stranger(engine, network, "red", "x") as one:
        one.scan(NODES, "no")
    assert "red-stranger" not in engine.containers
