# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Settings that cannot work are refused with one sentence, which never shows a secret."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import files
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import (
    K3sSettings,
    check_settings,
    read_settings,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.machine import Capabilities

TOKEN, AGENT_TOKEN = "server-secret-0123456789", "agent-secret-0123456789"
SERVER = K3sSettings("server", "v1.36.4+k3s1", "10.0.0.1", "red1", "10.0.0.1", TOKEN, AGENT_TOKEN)
AGENT = replace(SERVER, role="agent", node_name="red2", node_address="10.0.0.2", token="")


@pytest.mark.parametrize("key", ["token", "token-file", "server", "node-name", "data-dir", "node-ip+"])
def test_a_second_opinion_on_the_roles_keys_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf"^config contains keys that the role k3s sets: {key.rstrip('+')};"):
        check_settings(replace(AGENT, config={key: "x"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "latest"}, "version is not a release of k3s: 'latest'"),
        ({"version": "1.36.4"}, "version is not a release of k3s: '1.36.4'"),
        ({"node_name": "Red_1"}, "node_name is not a node name of Kubernetes: 'Red_1'"),
        ({"node_address": "red1"}, "node_address is not an IP address: 'red1'"),
        ({"server_address": ""}, "server_address is not an IP address: ''"),
        ({"agent_token": "short"}, "agent_token is not a plain secret"),
        ({"agent_token": f"K10{'a' * 64}::node:secret"}, "agent_token is not a plain secret"),
        ({"agent_token": "two words are a bad idea"}, "agent_token is not a plain secret"),
    ],
)
def test_settings_that_cannot_work_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        check_settings(replace(AGENT, **change))


def test_message_about_a_bad_secret_does_not_show_it() -> None:
    with pytest.raises(UserError) as raised:
        check_settings(replace(AGENT, agent_token="hunter2"))
    assert "hunter2" not in str(raised.value)


def test_server_needs_its_own_secret_and_an_agent_never_gets_it() -> None:
    with pytest.raises(UserError, match=r"^token is not a plain secret"):
        check_settings(replace(SERVER, token=""))
    check_settings(AGENT)
    assert "/etc/rancher/k3s/server-token" not in files(replace(AGENT, token=TOKEN), Capabilities())


OPTIONS: dict[str, Any] = {
    "role": "none",
    "artifact": {},
    "server_address": "",
    "node_name": "",
    "node_address": "",
    "token": "",
    "agent_token": "",
    "config": "",
    "registries": "",
    "containerd_template": "",
    "limit_nofile": 0,
    "probe": True,
    "images": False,
}


def test_options_are_checked_only_where_k3s_is_desired() -> None:
    assert read_settings(OPTIONS).role == "none"
    with pytest.raises(UserError, match="version is not a release of k3s: ''"):
        read_settings(OPTIONS | {"role": "agent"})


@pytest.mark.parametrize("wrong", ['["hunter2"]', "hunter2"])
def test_option_that_is_not_the_expected_json_is_named_and_not_shown(wrong: str) -> None:
    with pytest.raises(UserError, match=r"^registries is not a mapping in JSON") as raised:
        read_settings(OPTIONS | {"registries": wrong})
    assert "hunter2" not in str(raised.value)
