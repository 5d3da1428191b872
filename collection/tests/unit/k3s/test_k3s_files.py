# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.picluster.cloud.plugins.module_utils.k3s import pods
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import (
    HEADER,
    OWNED,
    Machine,
    SettingsError,
    Wish,
    check,
    config,
    files,
    limits,
    redact,
    template_path,
    to_yaml,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.probe import IMAGE, go_architecture, libraries, pack
from ansible_collections.picluster.cloud.plugins.module_utils.node.machine import (
    cmdline_path,
    parse_limits,
    read_machine,
)

if TYPE_CHECKING:
    from pathlib import Path

TOKEN, AGENT_TOKEN = "server-secret-0123456789", "agent-secret-0123456789"
SERVER = Wish("server", "v1.36.4+k3s1", "10.0.0.1", "red1", "10.0.0.1", TOKEN, AGENT_TOKEN)
AGENT = replace(SERVER, role="agent", node_name="red2", node_address="10.0.0.2", token="")
PI = Machine()
CONFIG, UNIT = "etc/rancher/k3s/config.yaml", "etc/systemd/system/k3s.service"


def read(wish: Wish, machine: Machine = PI) -> dict[str, Any]:
    loaded = yaml.safe_load(files(wish, machine)[CONFIG].text)
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
    wish = replace(SERVER, config={"tls-san": ["red.home", "red1"], "disable": ["traefik"], "snapshotter": "native"})
    found = read(wish)
    assert found["tls-san"] == ["10.0.0.1", "red1", "red.home"]
    assert found["disable"] == ["traefik"]
    assert found["snapshotter"] == "native"


@pytest.mark.parametrize("key", ["token", "token-file", "server", "node-name", "data-dir", "node-ip+"])
def test_a_second_opinion_on_the_roles_keys_is_refused(key: str) -> None:
    with pytest.raises(SettingsError, match=f"k3s_config must not have {key.rstrip('+')}"):
        check(replace(AGENT, config={key: "x"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "latest"}, "k3s_version is 'latest'"),
        ({"version": "1.36.4"}, "k3s_version is '1.36.4'"),
        ({"node_name": "Red_1"}, "k3s_node_name is 'Red_1'"),
        ({"node_address": "red1"}, "k3s_node_address is 'red1'"),
        ({"server_address": ""}, "k3s_server_address is ''"),
        ({"agent_token": "short"}, "k3s_agent_token must be"),
        ({"agent_token": f"K10{'a' * 64}::node:secret"}, "k3s_agent_token must be"),
        ({"agent_token": "two words are a bad idea"}, "k3s_agent_token must be"),
    ],
)
def test_settings_that_cannot_work_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check(replace(AGENT, **change))


def test_message_about_a_bad_secret_does_not_show_it() -> None:
    with pytest.raises(SettingsError) as raised:
        check(replace(AGENT, agent_token="hunter2"))
    assert "hunter2" not in str(raised.value)


def test_server_needs_its_own_secret_and_an_agent_never_gets_it() -> None:
    with pytest.raises(SettingsError, match="k3s_token must be"):
        check(replace(SERVER, token=""))
    check(AGENT)
    assert "etc/rancher/k3s/server-token" not in files(replace(AGENT, token=TOKEN), PI)


def test_secrets_are_in_token_files_only_and_for_root_only() -> None:
    for path, file in files(SERVER, PI).items():
        has_secret = TOKEN in file.text or AGENT_TOKEN in file.text
        assert has_secret == file.secret, path
        assert path in OWNED
        assert not has_secret or file.mode == 0o600


def test_none_has_no_files() -> None:
    assert files(replace(AGENT, role="none", version=""), PI) == {}


def test_cgroup_v1_is_allowed_explicitly_from_kubernetes_1_35_on() -> None:
    old = Machine(cgroup_version=1)
    assert read(AGENT, old)["kubelet-arg"] == ["fail-cgroupv1=false"]
    assert read(replace(AGENT, config={"kubelet-arg": ["v=4", "fail-cgroupv1=false"]}), old)["kubelet-arg"] == [
        "fail-cgroupv1=false",
        "v=4",
    ]
    assert "kubelet-arg" not in config(replace(AGENT, version="v1.34.1+k3s1"), old)
    assert "kubelet-arg" not in config(AGENT, PI)


def test_unit_is_stock_on_an_ordinary_machine() -> None:
    text = files(SERVER, Machine(hard_limits={"LimitNOFILE": 524288}))[UNIT].text
    for line in ("Type=notify", "KillMode=process", "Delegate=yes", "LimitNOFILE=1048576", "LimitNPROC=infinity"):
        assert f"\n{line}\n" in text
    assert text.endswith("ExecStart=/usr/local/bin/k3s server\n")
    agents = files(AGENT, PI)["etc/systemd/system/k3s-agent.service"].text
    assert "EnvironmentFile=-/etc/systemd/system/k3s-agent.service.env" in agents


def test_limits_are_lowered_only_where_init_may_not_raise_them() -> None:
    bound = Machine(may_raise_limits=False, hard_limits={"LimitNOFILE": 20000, "LimitNPROC": 96365, "LimitCORE": None})
    assert limits(bound, 1048576) == {"LimitNOFILE": "20000", "LimitNPROC": "96365", "LimitCORE": "infinity"}
    assert limits(bound, 1024)["LimitNOFILE"] == "1024"
    assert limits(replace(bound, may_raise_limits=True), 1048576)["LimitNOFILE"] == "1048576"


def test_container_without_the_capability_tells_containerd_not_to_lower_oom_scores() -> None:
    bound = Machine(may_raise_limits=False)
    assert any("restrict_oom_score_adj = true" in file.text for file in files(AGENT, bound).values())
    assert not any("restrict_oom_score_adj" in file.text for file in files(AGENT, PI).values())


def test_containerd_template_has_the_name_of_its_generation() -> None:
    assert template_path("v1.36.4+k3s1").endswith("/config-v3.toml.tmpl")
    assert template_path("v1.21.2+k3s1").endswith("/config.toml.tmpl")
    wish = replace(AGENT, containerd_template='{{ template "base" . }}\n')
    assert files(wish, PI)[template_path(wish.version)].text == HEADER + '{{ template "base" . }}\n'


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


def test_machine_with_unified_cgroups(tmp_path: Path) -> None:
    write(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
    write(tmp_path, "proc/1/status", "Name:\tsystemd\nCapEff:\t000001ffffffffff\n")
    found = read_machine(tmp_path)
    assert found == Machine(cgroup_version=2, memory_cgroup=True, may_raise_limits=True)


@pytest.mark.parametrize(("enabled", "expected"), [("1", True), ("0", False)])
def test_machine_with_old_cgroups_in_a_container(tmp_path: Path, enabled: str, expected: object) -> None:
    write(tmp_path, "proc/cgroups", f"#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t9\t{enabled}\n")
    write(tmp_path, "proc/1/status", "CapEff:\t000001fffeffffff\n")
    found = read_machine(tmp_path)
    assert (found.cgroup_version, found.memory_cgroup, found.may_raise_limits) == (1, expected, False)


def test_pi_without_the_memory_cgroup_is_seen(tmp_path: Path) -> None:
    write(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    assert not read_machine(tmp_path).memory_cgroup
    assert cmdline_path(tmp_path) == "/boot/cmdline.txt"
    (tmp_path / "boot/firmware").mkdir(parents=True)
    assert cmdline_path(tmp_path) == "/boot/firmware/cmdline.txt"
    write(tmp_path, "boot/firmware/current/cmdline.txt", "root=/dev/sda2\n")
    assert cmdline_path(tmp_path) == "/boot/firmware/current/cmdline.txt"


def test_limits_of_init_are_read() -> None:
    text = (
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max core file size        0                    unlimited            bytes     \n"
        "Max processes             96365                96365                processes \n"
        "Max open files            1024                 20000                files     \n"
    )
    assert parse_limits(text) == {"LimitCORE": None, "LimitNPROC": 96365, "LimitNOFILE": 20000}


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_probe_image_is_the_same_every_time_and_complete(tmp_path: Path) -> None:
    members = {"/bin/busybox": b"program", "/lib/ld.so": b"loader"}
    data = pack(members, "arm64")
    assert data == pack(members, "arm64")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        content = {name: member.read() for name in tar.getnames() if (member := tar.extractfile(name))}
    manifest = json.loads(content["manifest.json"])[0]
    assert manifest["RepoTags"] == [IMAGE]
    settings = json.loads(content[manifest["Config"]])
    assert settings["architecture"] == "arm64"
    layer = content[manifest["Layers"][0]]
    assert settings["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert sorted(tar.getnames()) == ["bin/busybox", "lib/ld.so"]
        assert tar.getmember("bin/busybox").mode == 0o755


def test_libraries_of_a_program() -> None:
    text = (
        "\tlinux-vdso.so.1 (0x00007ffd)\n"
        "\tlibc.so.6 => /lib/aarch64-linux-gnu/libc.so.6 (0x00007f9c)\n"
        "\t/lib/ld-linux-aarch64.so.1 (0x00007f9d)\n"
    )
    assert [str(path) for path in libraries(text)] == [
        "/lib/aarch64-linux-gnu/libc.so.6",
        "/lib/ld-linux-aarch64.so.1",
    ]
    assert libraries("\tnot a dynamic executable\n") == []


@pytest.mark.parametrize(
    ("machine", "bits", "expected"),
    [("aarch64", 64, "arm64"), ("aarch64", 32, "arm"), ("armv7l", 32, "arm"), ("x86_64", 64, "amd64")],
)
def test_architecture_is_the_userlands(machine: str, bits: int, expected: str) -> None:
    assert go_architecture(machine, bits) == expected


def test_only_k3s_shims_and_their_children_are_ended() -> None:
    ours = f"/var/lib/rancher/k3s/data/x/bin/containerd-shim-runc-v2 -namespace k8s.io -address {pods.SOCKET}"
    docker = "/usr/bin/containerd-shim-runc-v2 -namespace moby -address /run/containerd/containerd.sock"
    table = {
        1: (0, "/sbin/init"),
        10: (1, ours),
        11: (10, "/pause"),
        12: (11, "sh"),
        20: (1, docker),
        21: (20, "nginx"),
    }
    assert pods.shims(table) == {10, 11, 12}


def test_only_pods_mounts_are_undone_innermost_first() -> None:
    mounts = (
        "tmpfs /run tmpfs rw 0 0\n"
        "tmpfs /var/lib/kubelet/pods/a/volumes tmpfs rw 0 0\n"
        "shm /run/k3s/containerd/b/shm tmpfs rw 0 0\n"
        "overlay /run/k3s/containerd/b overlay rw 0 0\n"
        "/dev/sda1 /var/lib/kubelet ext4 rw 0 0\n"
        "overlay /var/lib/docker/overlay2/x overlay rw 0 0\n"
    )
    assert pods.own_mounts(mounts) == [
        "/var/lib/kubelet/pods/a/volumes",
        "/run/k3s/containerd/b/shm",
        "/run/k3s/containerd/b",
    ]


def test_only_k3s_links_and_rules_go() -> None:
    assert pods.own_links(["lo", "eth0", "docker0", "cni0", "flannel.1", "flannel-wg"]) == [
        "cni0",
        "flannel-wg",
        "flannel.1",
    ]
    saved = "*nat\n:KUBE-SVC - [0:0]\n-A POSTROUTING -j CNI-x\n-A DOCKER -j RETURN\nCOMMIT\n"
    assert pods.foreign_rules(saved) == "*nat\n-A DOCKER -j RETURN\nCOMMIT\n"
    assert pods.foreign_rules("*nat\n-A DOCKER -j RETURN\nCOMMIT\n") is None
