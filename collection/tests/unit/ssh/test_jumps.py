"""Nodes behind nodes: which jumps of ssh are recognised, and when the node in front may disable forwarding."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory
from ansible_collections.picluster.cloud.plugins.plugin_utils.ssh.checks import cluster_problems, jumps


@pytest.mark.parametrize(
    ("arguments", "host"),
    [
        ("-J red1", "red1"),
        ("-C -J pi@red1:2222,pi@red7", "red1"),
        ("-o ProxyJump=pi@192.168.63.11", "192.168.63.11"),
        ("-o 'ProxyJump pi@[fd00::11]:22'", "fd00::11"),
        ("-oProxyJump=ssh://pi@red1:22", "red1"),
        ("-o ProxyCommand='ssh -i key -W %h:%p -q pi@red1'", "red1"),
    ],
)
def test_every_spelling_of_a_jump_is_recognised(arguments: str, host: str) -> None:
    assert host in jumps(arguments)


def test_ssh_without_a_jump_has_none() -> None:
    assert jumps("-o ControlMaster=auto -o HostKeyAlias=red1 -o KexAlgorithms=^curve25519-sha256") == set()


def _texts(settings: dict[str, Any] | None) -> list[str]:
    front = {"node_address": "192.168.63.11"} | ({} if settings is None else {"ssh_settings": settings})
    behind = {"node_address": "192.168.63.12", "ansible_ssh_common_args": "-J pi@192.168.63.11"}
    return [problem.text for problem in cluster_problems(Inventory({}, {"red1": front, "red2": behind}))]


@pytest.mark.parametrize("settings", [None, {}, {"allowtcpforwarding": "remote"}, {"AllowTcpForwarding": False}])
def test_a_node_in_front_of_others_must_go_on_forwarding(settings: dict[str, Any] | None) -> None:
    assert "set ssh_settings: {AllowTcpForwarding: local} for red1" in _texts(settings)[0]


@pytest.mark.parametrize("value", [True, "yes", "local", "{{ later }}", None])
def test_a_node_that_forwards_may_be_in_front(value: object) -> None:
    assert _texts({"allowTCPforwarding": value}) == []


def test_a_jump_host_outside_the_cluster_is_ignored() -> None:
    variables = {"red1": {"node_address": "10.0.0.1", "ansible_ssh_common_args": "-J bastion,red1"}}
    assert list(cluster_problems(Inventory({}, variables))) == []
