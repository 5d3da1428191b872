# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A k3s cluster is not lost because the group of servers names another node, or because a card is new."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.existing import (
    DB_DIR,
    JOINED,
    has_server_data,
    is_given_up,
    refusal,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import K3sSettings

if TYPE_CHECKING:
    from pathlib import Path

SERVER = K3sSettings("server", "v1.36.4+k3s1", "10.0.0.1", "red1", "10.0.0.1", "x" * 16, "y" * 16)
AGENT = replace(SERVER, role="agent", server_address="10.0.0.2")
LEAVES = replace(AGENT, role="none")
LAYER_REMOVED = replace(LEAVES, server_address="")


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path)


def put(node: FakeNode, *paths: str) -> FakeNode:
    for path in paths:
        node.write(path, "x")
    return node


DATA = f"{DB_DIR}/state.db"


@pytest.mark.parametrize("settings", [AGENT, LEAVES], ids=["agent", "none"])
def test_data_is_not_left_behind_for_another_server(node: FakeNode, settings: K3sSettings) -> None:
    put(node, DATA, JOINED)
    said = refusal(node, settings, recorded=False, give_up="")
    assert said.startswith("red1 holds the data of a k3s cluster (/var/lib/rancher/k3s/server/db), but the server is")
    assert "everything deployed on the old cluster would be lost" in said
    assert said.endswith("make red1 the server again, or confirm with give_up_cluster=red1")
    assert refusal(node, settings, recorded=False, give_up="red9") == said
    assert refusal(node, settings, recorded=False, give_up="red1") == ""


@pytest.mark.parametrize("settings", [SERVER, LAYER_REMOVED], ids=["stays", "layer removed"])
@pytest.mark.parametrize("recorded", [True, False])
def test_server_that_stays_or_goes_without_a_successor_is_not_refused(
    node: FakeNode, settings: K3sSettings, *, recorded: bool
) -> None:
    put(node, DATA, JOINED)
    assert refusal(node, settings, recorded=recorded, give_up="") == ""
    assert not is_given_up(node, settings, "red1")


@pytest.mark.parametrize("settings", [SERVER, AGENT, LEAVES, LAYER_REMOVED])
def test_first_run_is_not_refused(node: FakeNode, settings: K3sSettings) -> None:
    node.path(DB_DIR).mkdir(parents=True)  # a folder alone is no data
    assert refusal(node, settings, recorded=False, give_up="") == ""


def test_server_whose_card_is_new_starts_no_empty_cluster(node: FakeNode) -> None:
    said = refusal(node, SERVER, recorded=True, give_up="")
    assert said.startswith("red1 was the k3s server, but its data (/var/lib/rancher/k3s/server/db) is gone")
    assert "restore /var/lib/rancher/k3s/server from a backup" in said
    assert refusal(node, SERVER, recorded=True, give_up="red2") == said
    assert refusal(node, SERVER, recorded=True, give_up="red1") == ""


def test_former_agent_starts_no_empty_cluster(node: FakeNode) -> None:
    put(node, JOINED)
    said = refusal(node, SERVER, recorded=False, give_up="")
    assert said.startswith("red1 is to be the k3s server, but it was an agent of a cluster")
    assert refusal(node, SERVER, recorded=False, give_up="red7") == ""
    assert refusal(node, AGENT, recorded=False, give_up="") == ""


def test_data_elsewhere_or_of_another_installer_is_not_judged(node: FakeNode) -> None:
    put(node, DATA)
    assert refusal(node, replace(AGENT, config={"datastore-endpoint": "x"}), recorded=False, give_up="") == ""
    put(node, "/etc/systemd/system/k3s.service")
    assert refusal(node, LEAVES, recorded=False, give_up="") == ""
    assert not is_given_up(node, LEAVES, "red1")


def test_data_is_seen_where_k3s_keeps_it(node: FakeNode) -> None:
    assert not has_server_data(node)
    assert has_server_data(put(node, DATA))
