"""Names of groups: a slip in one of ours is refused, a name of the user's own is not."""

from __future__ import annotations

import pytest

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.groups import near_miss

OURS = ("nodes", "docker", "k3s_server", "k3s_agent", "hadoop_master", "hadoop_worker")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("k3s_agents", "k3s_agent"),
        ("k3s-agent", "k3s_agent"),
        ("k3sagent", "k3s_agent"),
        ("K3S_Server", "k3s_server"),
        ("k3s_severs", "k3s_server"),
        ("k3s_sevrer", "k3s_server"),
        ("ks3_server", "k3s_server"),
        ("dokcer", "docker"),
        ("dockerr", "docker"),
        ("hadoop_workers", "hadoop_worker"),
        ("hadoop_mastre", "hadoop_master"),
        ("node", "nodes"),
        ("Nodes", "nodes"),
    ],
)
def test_a_slip_is_recognised(name: str, meant: str) -> None:
    assert near_miss(name, OURS) == meant


@pytest.mark.parametrize(
    "name",
    ["attic", "workers", "k3s", "k3s_agent_gpu", "docker2", "k3s_agent_1", "hadoop", "registry", "nodes_old", "n"],
)
def test_a_group_of_the_users_own_is_none(name: str) -> None:
    assert near_miss(name, OURS) == ""
