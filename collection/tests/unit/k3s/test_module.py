# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Module k3s_node as Ansible runs it, on a node that is a directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.k3s import probe
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.apply import PROBE
from ansible_collections.picluster.cloud.plugins.module_utils.node import module as frame
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node
from ansible_collections.picluster.cloud.plugins.modules import k3s_node

if TYPE_CHECKING:
    from pathlib import Path

ARGUMENTS: dict[str, Any] = {
    "role": "agent",
    "artifact": {"version": "v1.36.4+k3s1", "sha256": "a" * 64, "path": "/x"},
    "server_address": "10.0.0.1",
    "node_name": "red2",
    "node_address": "10.0.0.2",
    "agent_token": "agent-secret-0123456789",
}
CONTROLLERS = "/sys/fs/cgroup/cgroup.controllers"


class Install:
    """Runs the module; keeps its answer and what it gave to syslog."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = root, capsys
        self.syslog: list[str] = []
        # Ansible collects warnings once for a whole process.
        self.warnings: list[str] = []
        self.write("/usr/local/bin/k3s-v1.36.4+k3s1", "#!")
        self.write(CONTROLLERS, "cpu memory\n")
        monkeypatch.setattr(frame, "Node", lambda module: Node(module, root))
        monkeypatch.setattr(probe, "build", lambda: b"image")
        monkeypatch.setattr(AnsibleModule, "warn", lambda _, text, **__: self.warnings.append(text))
        monkeypatch.setattr(AnsibleModule, "log", lambda _, *args, **kwargs: self.syslog.append(f"{args} {kwargs}"))
        shown = "ActiveState=active\nUnitFileState=enabled\n"
        monkeypatch.setattr(AnsibleModule, "run_command", lambda *_, **__: (0, shown, ""))

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def write(self, name: str, text: str) -> None:
        FakeNode(self.root).write(name, text)

    def run(self, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        given = ARGUMENTS | arguments | {"_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(given), pytest.raises(SystemExit):
            k3s_node.main()
        answer: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return answer


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Install:
    return Install(tmp_path, monkeypatch, capsys)


def test_memory_cgroup_that_is_off_is_a_warning_in_check_mode_and_a_refusal_else(node: Install) -> None:
    node.write(CONTROLLERS, "cpu\n")
    foreseen = node.run(check=True)
    assert not foreseen.get("failed")
    assert foreseen["changed"]
    assert "cgroup_enable=memory" in node.warnings[0]
    refused = node.run()
    assert refused["failed"]
    assert "add 'cgroup_memory=1 cgroup_enable=memory' to the line in /boot/cmdline.txt" in refused["msg"]
    assert not node.path("/etc").exists()


def test_flags_that_wait_for_a_restart_are_not_to_be_added_again(node: Install) -> None:
    node.write(CONTROLLERS, "cpu\n")
    node.write("/boot/firmware/cmdline.txt", "console=tty1 cgroup_memory=1 cgroup_enable=memory\n")
    assert "wait in /boot/firmware/cmdline.txt for a restart; run playbooks/reboot.yml" in node.run()["msg"]


def test_node_without_an_artifact_is_skipped_only_where_k3s_is_optional(node: Install) -> None:
    skipped = node.run(artifact={}, optional=True)
    assert not skipped["changed"]
    assert skipped["picluster_status"] == [
        {"node": "red2", "layer": "k3s", "state": "skipped", "detail": "no artifact"}
    ]
    failed = node.run(artifact={})
    assert failed["msg"].startswith("artifact is empty")
    assert not node.path("/etc").exists()


def test_pod_checks_image_is_kept_where_it_is_desired(node: Install) -> None:
    node.run()
    assert node.path(PROBE).read_bytes() == b"image"
    node.run(probe=False)
    assert not node.path(PROBE).exists()


SECRETS: dict[str, Any] = {
    "config": json.dumps(
        {
            "etcd-s3-secret-key": "hunter2",
            "kube-apiserver-arg": ["oidc-client-secret=hunter2"],
            "snapshotter": "native",
            "write-kubeconfig-mode": "0600",
        }
    ),
    "registries": json.dumps(
        {
            "mirrors": {"docker.io": {"endpoint": ["https://m:5000"], "rewrite": {"^(.*)": "/"}}},
            "configs": {"m": {"auth": {"username": "me", "password": "hunter2"}, "tls": {"insecure": "True"}}},
        }
    ),
    "containerd_template": json.dumps('{{ template "base" . }}\n[x]\n  password = "hunter2"\n'),
}


@pytest.mark.parametrize("check", [True, False])
def test_secrets_of_config_and_registries_are_in_files_only(node: Install, *, check: bool) -> None:
    for _ in range(2):  # at the second time with something to compare with
        answer = node.run(check=check, **SECRETS)
        assert not answer.get("failed")
        assert "hunter2" not in json.dumps(answer)
        assert "hunter2" not in str(node.syslog)
        assert "oidc-client" not in str(node.syslog)
    assert node.syslog
    if not check:
        assert "hunter2" in node.path("/etc/rancher/k3s/registries.yaml").read_text()


def test_what_is_no_secret_is_still_told(node: Install) -> None:
    answer = node.run(**SECRETS)
    assert answer["changed"] is True
    told = {entry["after_header"]: entry["after"] for entry in answer["diff"]}
    assert 'snapshotter: "native"' in told["/etc/rancher/k3s/config.yaml"]
    assert told["/etc/rancher/k3s/registries.yaml"] == "(hidden)\n"
    template = told["/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl"]
    assert template.endswith('{{ template "base" . }}\n[x]\n  password = (hidden)\n')
    again = node.run(**SECRETS | {"registries": '{"configs": {}}'})
    shown = next(entry for entry in again["diff"] if entry["after_header"].endswith("registries.yaml"))
    assert (shown["before"], shown["after"]) == ("(hidden)\n", "(hidden, another)\n")


DATA = "/var/lib/rancher/k3s/server/db/state.db"
ELSEWHERE: dict[str, Any] = {"node_name": "red1", "node_address": "10.0.0.2", "server_address": "10.0.0.1"}


def with_data(node: Install) -> None:
    path = node.path(DATA)
    path.parent.mkdir(parents=True)
    path.write_text("pods")


def contents(node: Install) -> list[str]:
    return sorted(str(path.relative_to(node.root)) for path in node.root.rglob("*"))


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("role", ["agent", "none"])
def test_former_server_is_refused_before_anything_changes(node: Install, role: str, *, check: bool) -> None:
    with_data(node)
    before = contents(node)
    answer = node.run(role=role, check=check, **ELSEWHERE)
    assert answer["failed"]
    assert "confirm with give_up_cluster=red1" in answer["msg"]
    assert contents(node) == before


@pytest.mark.parametrize("role", ["agent", "none"])
def test_data_that_is_given_up_is_set_aside_once_and_kept(node: Install, role: str) -> None:
    with_data(node)
    foreseen = node.run(role=role, check=True, give_up_cluster="red1", **ELSEWHERE)
    assert node.path(DATA).exists()
    answer = node.run(role=role, give_up_cluster="red1", **ELSEWHERE)
    assert answer["changed"]
    assert answer["diff"] == foreseen["diff"]
    kept = node.path("/var/lib/rancher/k3s/server.given-up-1/db/state.db")
    assert kept.read_text() == "pods"
    # From then on nothing has to be confirmed.
    again = node.run(role=role, **ELSEWHERE)
    assert not again.get("failed")
    assert not again["changed"]
    with_data(node)
    node.run(role=role, give_up_cluster="red1", **ELSEWHERE)
    assert node.path("/var/lib/rancher/k3s/server.given-up-2/db/state.db").exists()


def test_layer_that_is_removed_as_a_whole_keeps_the_data(node: Install) -> None:
    with_data(node)
    answer = node.run(role="none", server_address="", give_up_cluster="red2")
    assert not answer.get("failed")
    assert node.path(DATA).exists()


def test_server_says_whether_it_has_data(node: Install) -> None:
    server: dict[str, Any] = {"role": "server", "token": "server-secret-0123456789"}
    assert node.run(**server)["server_data"] is False
    with_data(node)
    assert node.run(**server)["server_data"] is True
    assert not node.run(recorded_server=True, **server).get("failed")


def test_server_that_lost_its_data_is_refused(node: Install) -> None:
    answer = node.run(role="server", token="server-secret-0123456789", recorded_server=True)
    assert answer["failed"]
    assert "red2 was the k3s server, but its data" in answer["msg"]
    assert not node.path("/etc").exists()
