"""Bad input of picluster discover: one sentence, exit code 2, and nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from discoverkit import INVENTORY, NODES, snapshot, write

from picluster import cli

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sshdkit import Fleet


BAD: dict[str, tuple[Sequence[str], str]] = {
    "no such cluster": (["blue"], "there is no cluster blue in inventories (found: red); create it"),
    "cluster's name": (["../red"], "CLUSTER '../red' is not a cluster name"),
    "no cluster": ([], "required: CLUSTER"),
    "net": (["red", "--net", "127.77.0.x"], "--net '127.77.0.x' is not an IPv4 network"),
    "prefix": (["red", "--net", "127.77.0.0/40"], "is not an IPv4 network"),
    "IPv6": (["red", "--net", "fd00::/64"], "is not an IPv4 network"),
    "huge net": (["red", "--net", "127.0.0.0/9"], "--net is too large: 8,388,608 addresses"),
    "nets huge together": (["red", "--net", "127.1.0.0/16", "--net", "127.2.0.1"], "65,537 addresses"),
    "no leases": (["red", "--leases", "none"], "--leases none cannot be read: No such file"),
    "leases folder": (["red", "--leases", "inventories"], "--leases inventories cannot be read: Is a directory"),
    "no lease file": (["red", "--leases", str(NODES)], "is not a leases file of dnsmasq: line 1 must have expiry"),
    "no text": (["red", "--leases", "/bin/true"], "/bin/true is not a leases file of dnsmasq: it is not text"),
    "timeout": (["red", "--timeout", "soon"], "--timeout 'soon' is not a number; expected 0.1 to 60 seconds"),
    "no time": (["red", "--timeout", "0"], "--timeout 0 is out of range"),
    "no number": (["red", "--timeout", "nan"], "--timeout nan is out of range"),
    "inventories": (["red", "--inventories", "elsewhere"], "there is no cluster red in elsewhere (found: none)"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_ends_in_one_sentence(fleet: Fleet, capsys: pytest.CaptureFixture[str], what: str) -> None:
    arguments, says = BAD[what]
    before = snapshot()
    assert cli.main(["discover", *arguments]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert snapshot() == before


CONNECTION = "group_vars/nodes/connection.yml"
BROKEN = {
    "key": (CONNECTION, "ansible_ssh_private_key_file: /none/id\n", "there is no private key /none/id"),
    "template": (CONNECTION, "ansible_user: '{{ me }}'\n", "ansible_user '{{ me }}' cannot be used by picluster"),
    "user": (CONNECTION, "ansible_user: -oProxyCommand=x\n", "cannot be used by picluster"),
    "port": (CONNECTION, "ansible_port: ssh\n", "ansible_port 'ssh' is not a port"),
    "high port": (CONNECTION, "ansible_port: 65536\n", "ansible_port 65536 is not a port"),
    "prefix": (
        "group_vars/all/cluster.yml",
        "node_prefix: 40\n",
        "node_prefix 40 is invalid: expected an integer from 8 to 30",
    ),
    "interface": ("group_vars/all/cluster.yml", "node_interface: $(reboot)\n", "is not a network interface"),
    "address": (
        "10-nodes.yml",
        "all: {children: {nodes: {hosts: {red8: {node_address: x}}}}}\n",
        "node_address x of red8",
    ),
    "no nodes": ("10-nodes.yml", "all: {children: {nodes: {hosts: {}}}}\n", "has no node with an address"),
    "no YAML": ("10-nodes.yml", "all: [\n", "is not valid YAML"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_inventory_that_cannot_be_used_ends_in_one_sentence(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    file, text, says = BROKEN[what]
    write(INVENTORY / file, text)
    assert cli.main(["discover", "red"]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1


def test_without_ssh_it_says_what_to_install(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert cli.main(["discover", "red"]) == 2
    assert "install the OpenSSH client" in capsys.readouterr().err
