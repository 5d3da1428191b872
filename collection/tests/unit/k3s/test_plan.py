# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a node follow from its settings and from what its kernel and init allow; diffs hide secrets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import (
    HEADER,
    OWNED,
    config,
    files,
    limits,
    redact,
    template_path,
    to_yaml,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import K3sSettings
from ansible_collections.picluster.cloud.plugins.module_utils.node.machine import Capabilities

TOKEN, AGENT_TOKEN = "server-secret-0123456789", "agent-secret-0123456789"
SERVER = K3sSettings("server", "v1.36.4+k3s1", "10.0.0.1", "red1", "10.0.0.1", TOKEN, AGENT_TOKEN)
AGENT = replace(SERVER, role="agent", node_name="red2", node_address="10.0.0.2", token="")
PI = Capabilities()
CONFIG, UNIT = "/etc/rancher/k3s/config.yaml", "/etc/systemd/system/k3s.service"


def read(settings: K3sSettings, capabilities: Capabilities = PI) -> dict[str, Any]:
    loaded = yaml.safe_load(files(settings, capabilities)[CONFIG].text)
    assert isinstance(loaded, dict)
    return loaded


def test_servers_config() -> None:
    assert read(SERVER) == {
        "node-name": "red1",
        "node-ip": "10.0.0.1",
        "token-file": "/etc/rancher/k3s/server-token",
        "agent-token-file": "/etc/rancher/k3s/agent-token",
        "advertise-address": "10.0.0.1",
        "tls-san": ["10.0.0.1", "red1"],
    }


def test_agents_config() -> None:
    assert read(AGENT) == {
        "node-name": "red2",
        "node-ip": "10.0.0.2",
        "token-file": "/etc/rancher/k3s/agent-token",
        "server": "https://10.0.0.1:6443",
    }


def test_second_server_joins_the_first() -> None:
    assert read(replace(SERVER, node_address="10.0.0.3"))["server"] == "https://10.0.0.1:6443"


def test_ipv6_server_is_written_in_brackets() -> None:
    assert read(replace(AGENT, server_address="fd00::1"))["server"] == "https://[fd00::1]:6443"


def test_users_keys_are_added_and_lists_are_joined_once() -> None:
    settings = replace(
        SERVER, config={"tls-san": ["red.home", "red1"], "disable": ["traefik"], "snapshotter": "native"}
    )
    found = read(settings)
    assert found["tls-san"] == ["10.0.0.1", "red1", "red.home"]
    assert found["disable"] == ["traefik"]
    assert found["snapshotter"] == "native"


def test_secrets_are_in_token_files_only_and_for_root_only() -> None:
    for path, file in files(SERVER, PI).items():
        has_secret = TOKEN in file.text or AGENT_TOKEN in file.text
        assert has_secret == file.secret, path
        assert path in OWNED or path == UNIT
        assert not has_secret or file.mode == 0o600


def test_none_has_no_files() -> None:
    assert files(replace(AGENT, role="none", version=""), PI) == {}


def test_cgroup_v1_is_allowed_explicitly_from_kubernetes_1_35_on() -> None:
    old = Capabilities(cgroup_version=1)
    assert read(AGENT, old)["kubelet-arg"] == ["fail-cgroupv1=false"]
    assert read(replace(AGENT, config={"kubelet-arg": ["v=4", "fail-cgroupv1=false"]}), old)["kubelet-arg"] == [
        "fail-cgroupv1=false",
        "v=4",
    ]
    assert "kubelet-arg" not in config(replace(AGENT, version="v1.34.1+k3s1"), old)
    assert "kubelet-arg" not in config(AGENT, PI)


def test_unit_is_stock_on_an_ordinary_machine() -> None:
    text = files(SERVER, Capabilities(hard_limits={"LimitNOFILE": 524288}))[UNIT].text
    for line in ("Type=notify", "KillMode=process", "Delegate=yes", "LimitNOFILE=1048576", "LimitNPROC=infinity"):
        assert f"\n{line}\n" in text
    assert text.endswith("ExecStart=/usr/local/bin/k3s server\n")
    agents = files(AGENT, PI)["/etc/systemd/system/k3s-agent.service"].text
    assert "EnvironmentFile=-/etc/systemd/system/k3s-agent.service.env" in agents


def test_limits_are_lowered_only_where_init_may_not_raise_them() -> None:
    bound = Capabilities(
        may_raise_limits=False, hard_limits={"LimitNOFILE": 20000, "LimitNPROC": 96365, "LimitCORE": None}
    )
    assert limits(bound, 1048576) == {"LimitNOFILE": "20000", "LimitNPROC": "96365", "LimitCORE": "infinity"}
    assert limits(bound, 1024)["LimitNOFILE"] == "1024"
    assert limits(replace(bound, may_raise_limits=True), 1048576)["LimitNOFILE"] == "1048576"


def test_container_without_the_capability_tells_containerd_not_to_lower_oom_scores() -> None:
    bound = Capabilities(may_raise_limits=False)
    assert any("restrict_oom_score_adj = true" in file.text for file in files(AGENT, bound).values())
    assert not any("restrict_oom_score_adj" in file.text for file in files(AGENT, PI).values())


def test_containerd_template_has_the_name_of_its_generation() -> None:
    assert template_path("v1.36.4+k3s1").endswith("/config-v3.toml.tmpl")
    assert template_path("v1.21.2+k3s1").endswith("/config.toml.tmpl")
    settings = replace(AGENT, containerd_template='{{ template "base" . }}\n')
    assert files(settings, PI)[template_path(settings.version)].text == HEADER + '{{ template "base" . }}\n'


@pytest.mark.parametrize(
    "value",
    [
        {"mirrors": {"docker.io": {"endpoint": ["https://m:5000"]}, "*": {}}, "configs": {}},
        {"a": [{"b": 1, "c": [1, 2]}, {}, [], "x: y"], "d": {"e": None}},
        {
            "number": 0,
            "no": False,
            "text": "no",
            "empty": "",
            "colon": "a: b # c",
            "umlaut": "ä☃",
            "date": "2026-01-01",
        },
        {"on": {"1": {"null": "~"}}},
    ],
)
def test_yaml_reads_back_as_it_was(value: dict[str, Any]) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


def test_diff_hides_secrets_and_shows_the_rest() -> None:
    text = to_yaml(
        {
            "token-file": "/etc/x",
            "etcd-s3-secret-key": "hunter2",
            "datastore-endpoint": "mysql://me:hunter2@db",
            "configs": {"m": {"auth": {"username": "hunter2", "password": "hunter2"}}},
            "disable": ["traefik"],
        }
    )
    shown = redact(text)
    assert "hunter2" not in shown
    assert "/etc/x" in shown
    assert "traefik" in shown


@pytest.mark.parametrize(
    "text",
    [
        to_yaml({"kube-apiserver-arg": ["v=4", "oidc-client-secret=hunter2"]}),
        "kube-apiserver-arg: ['v=4', 'oidc-client-secret=hunter2']\n",
        "configs: {m: {auth: {username: hunter2, password: hunter2}}}\n",
        '{"configs":{"m":{"auth":{"password":"hunter2"}}}}\n',
        "token: |\n  hunter2\n",
        "token:\n- hunter2\n- hunter2\n",
        "auth:\n  x:\n\n    y: hunter2\n",
        '[plugins."x".configs."m".auth]\n  password = "hunter2"\n',
        '[plugins]\n  auth="hunter2"\n',
        'http-proxy: "http://me:hunter2@proxy:3128"\n',
        "# password: hunter2\n",
    ],
)
def test_diff_hides_secrets_however_they_are_written(text: str) -> None:
    shown = redact(f"first: 1\n{text}last: 1\n")
    assert "hunter2" not in shown
    assert "(hidden)" in shown
    assert shown.startswith("first: 1\n")
    assert shown.endswith("last: 1\n")


@pytest.mark.parametrize(
    "text",
    [
        "token-file: /etc/x\n",
        "kube-apiserver-arg:\n- token-auth-file=/x\n- v=4\n",
        "configs:\n  m:\n    auth: {}\n    tls: {}\n",
        'server: "https://10.0.0.1:6443"\n',
        HEADER,
        files(SERVER, PI)[UNIT].text,
    ],
)
def test_diff_shows_what_is_no_secret(text: str) -> None:
    assert redact(text) == text
