"""The firewall: what the rules say, whether nft accepts them, and which settings are refused."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.firewall import plan
from ansible_collections.picluster.cloud.plugins.module_utils.firewall import rules as firewall_rules
from ansible_collections.picluster.cloud.plugins.module_utils.firewall.rules import Ports
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

NFT = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")

OPTIONS: dict[str, Any] = {
    "nodes": ["192.168.63.12", "192.168.63.11", "fd00::11"],
    "node_ports": ["all"],
    "management": ["192.168.1.0/24", "fd00:1::/64"],
    "public_ports": [443, 80, "8000-8010", "53/udp"],
    "strangers_ssh": True,
    "ssh_port": 22,
    "interface": "eth0",
    "container_interfaces": list(firewall_rules.CONTAINERS),
}
POLICIES = {
    "usual": {},
    "nobody named": {"nodes": [], "management": [], "public_ports": []},
    "few ports between nodes": {"node_ports": [6443, "8472/udp"]},
    "no port between nodes": {"node_ports": []},
    "closed to strangers": {"strangers_ssh": False, "ssh_port": 2222},
    "no containers": {"container_interfaces": []},
    "many nodes": {"nodes": [f"10.0.{i}.{j}" for i in range(4) for j in range(1, 60)]},
}


def text(client: str = "192.168.1.5", **options: Any) -> str:
    return plan.rules_text(firewall_rules.read_policy({**OPTIONS, **options}, client))


def rules(of: str, chain: str) -> list[str]:
    """Return a chain's lines without its comments."""
    body = of.partition(f"chain {chain} {{")[2].partition("\n  }")[0]
    return [line.strip() for line in body.splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.mark.skipif(NFT is None, reason="the package nftables is not installed")
@pytest.mark.parametrize("options", POLICIES.values(), ids=POLICIES.keys())
def test_nft_accepts_the_rules_of_every_policy(options: dict[str, Any], tmp_path: Path) -> None:
    candidate = tmp_path / "rules.nft"
    candidate.write_text(text(**options), encoding="utf-8")
    judged = subprocess.run(
        ["unshare", "--map-root-user", "--net", str(NFT), "--check", "--file", str(candidate)],
        capture_output=True,
        text=True,
        check=False,
    )
    if judged.stderr.startswith("unshare:"):
        pytest.skip(f"no network namespace can be had: {judged.stderr.strip()}")
    assert judged.returncode == 0, judged.stderr


def test_only_a_table_of_its_own_is_replaced() -> None:
    head = [line for line in text().splitlines() if not line.startswith("#")][:3]
    assert head == ["table inet picluster", "delete table inet picluster", "table inet picluster {"]
    assert "flush" not in "".join(line for line in text().splitlines() if not line.startswith("#"))


def test_the_same_nodes_in_another_order_give_the_same_rules() -> None:
    assert text(nodes=OPTIONS["nodes"][::-1], public_ports=["53/udp", 80, 443, "8000-8010"]) == text()


def test_strangers_see_ssh_only_and_whoever_runs_ansible_does_not_change_the_rules() -> None:
    own = rules(text(public_ports=[]), "input")
    assert "type filter hook input priority filter - 5; policy drop;" in own
    assert [rule for rule in own if rule.startswith("tcp")] == ["tcp dport 22 accept"]
    assert text(client="10.0.0.7") == text(client="")


def test_types_are_not_joined_where_python_3_9_would_have_to() -> None:
    assert not hasattr(firewall_rules, "Network")


def test_without_ssh_for_strangers_the_controller_still_gets_in() -> None:
    said = text(strangers_ssh=False, ssh_port=2222, client="::ffff:10.0.0.7")
    assert "elements = { 10.0.0.7 }" in said
    assert "ip saddr @controller4 tcp dport 2222 accept" in rules(said, "input")
    assert not [rule for rule in rules(said, "input") if rule.startswith("tcp dport")]
    assert "elements = { fe80::1 }" in text(strangers_ssh=False, client="fe80::1%eth0")


def test_a_controller_that_has_another_ipv6_address_tomorrow_still_gets_in() -> None:
    today = text(strangers_ssh=False, client="2001:db8:1:2:aaaa::1")
    assert "elements = { 2001:db8:1:2::/64 }" in today
    assert today == text(strangers_ssh=False, client="2001:db8:1:2:bbbb::2")


def test_what_nobody_could_log_in_by_is_refused() -> None:
    with pytest.raises(UserError, match="nobody could log in"):
        text(strangers_ssh=False, management=[], client="")


def test_published_ports_are_closed_to_strangers_unless_listed() -> None:
    last = rules(text(), "forward")
    assert "type filter hook forward priority filter - 5; policy accept;" in last
    at = last.index("ct status dnat counter drop")
    # A rule each: nft 0.9.8 and 1.0.2 take no patterns within braces ("Byteorder mismatch").
    assert last[at + 1 :] == [f'oifname "{one}" counter drop' for one in firewall_rules.CONTAINERS]
    assert 'iifname "cni*" accept' in rules(text(), "input")
    assert 'iifname "cni*" accept' in last[:at]
    # As it was knocked at, whatever port the container has inside.
    assert "ct status dnat meta l4proto tcp ct original proto-dst @public_tcp accept" in last
    assert "elements = { 80, 443, 8000-8010 }" in text()


def test_nodes_reach_everything_of_each_other_or_what_is_listed() -> None:
    assert "ip saddr @nodes4 accept" in rules(text(), "input")
    assert "ip saddr @nodes4 accept" in rules(text(), "forward")
    few = text(node_ports=[6443, "8472/udp"])
    assert "ip saddr @nodes4 accept" not in rules(few, "input") + rules(few, "forward")
    assert "ip saddr @nodes4 meta l4proto udp ct original proto-dst @node_udp accept" in rules(few, "input")
    assert "ct status dnat ip6 saddr @nodes6 meta l4proto tcp ct original proto-dst @node_tcp accept" in rules(
        few, "forward"
    )


def test_ports_that_touch_become_one_range() -> None:
    assert firewall_rules.parse_ports([80, "81-90", 85, "443/tcp", "53/udp"], "x") == Ports(
        ((80, 90), (443, 443)), ((53, 53),)
    )


@pytest.mark.parametrize("port", [0, 65536, -1, True, None, "80/sctp", "90-80", "http", "80,443", 80.5, [80]])
def test_what_is_no_port_is_named(port: object) -> None:
    with pytest.raises(
        UserError, match=r"^public_ports contains .*expected ports from 1 to 65535, such as 80, 8000-8010 or 53/udp"
    ):
        firewall_rules.parse_ports([port], "public_ports")


def test_all_ports_and_some_ports_contradict_each_other() -> None:
    with pytest.raises(UserError, match="node_ports contains both all and ports"):
        firewall_rules.parse_node_ports(["all", 80])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("192.168.1.5/24", r"\(did you mean 192.168.1.0/24\?\)"),
        ("192.168.1", "expected IP addresses"),
        (80, "expected IP addresses"),
        ("home", "expected IP addresses"),
        ("0.0.0.0/0", "which covers every host"),
        ("::/0", "which covers every host"),
    ],
)
def test_what_is_no_network_is_named(value: object, words: str) -> None:
    with pytest.raises(UserError, match=f"^management contains .*{words}"):
        firewall_rules.parse_networks([value], "management")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("*", "expected"), ("a b", "expected"), ("b*r", "expected"), ("br-*", "own interface br-lan")],
)
def test_the_node_s_own_interface_is_never_a_container_s(pattern: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        firewall_rules.check_containers([pattern], "br-lan")


def test_the_distribution_s_flush_is_followed_by_our_rules_whatever_caused_it() -> None:
    unit = plan.UNIT_TEXT
    assert "After=nftables.service" in unit.splitlines()
    again = [line.partition("=") for line in plan.DROPIN_TEXT.splitlines()[2:]]
    assert [when for when, _, _ in again] == ["ExecStartPost", "ExecReload", "ExecStopPost"]
    assert all("/usr/sbin/nft -f /etc/picluster/firewall.nft" in what for _, _, what in again)
    assert "ExecStop=-/usr/sbin/nft delete table inet picluster" in unit.splitlines()


@pytest.mark.parametrize(
    ("there", "said"), [("rules", "-f {}\n"), ("none", "delete table inet picluster\n")], ids=["former rules", "none"]
)
def test_a_rollback_ends_in_the_former_rules_or_in_none(there: str, said: str, tmp_path: Path) -> None:
    path, program = tmp_path / "rules", tmp_path / "nft"
    program.write_text('#!/bin/sh\necho "$@" >>"$0.log"\n', encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / there).touch()
    words = [word.replace(plan.RULES, str(path)).replace(plan.NFT, str(program)) for word in plan.RESTORE[False]]
    subprocess.run(words, check=True)
    assert (tmp_path / "nft.log").read_text("utf-8") == said.format(path)
