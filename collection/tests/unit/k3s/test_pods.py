# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Pods are ended with their mounts, links and rules; what belongs to others stays."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.k3s import pods
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome

if TYPE_CHECKING:
    from pathlib import Path


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


def test_pods_end_with_their_mounts_links_and_rules(tmp_path: Path) -> None:
    rules = "*nat\n:KUBE-SVC - [0:0]\n-A DOCKER -j RETURN\nCOMMIT\n"
    answers = {"umount": "", "ip": "", "iptables-save": rules, "iptables-restore": ""}
    node = FakeNode(tmp_path, {**answers, "ip6tables-save": Outcome(127, err="no such program")})
    node.write("/proc/self/mounts", "shm /run/k3s/containerd/b/shm tmpfs rw 0 0\n")
    node.write("/sys/class/net/cni0/mtu", "1450\n")
    node.write("/sys/class/net/eth0/mtu", "1500\n")
    node.write("/var/lib/cni/results", "x")
    assert pods.Pods(node).left()
    pods.Pods(node).end()
    assert node.commands == [
        "umount --lazy /run/k3s/containerd/b/shm",
        "ip link delete cni0",
        "iptables-save",
        "iptables-restore",
        "ip6tables-save",
    ]
    assert node.inputs[3] == "*nat\n-A DOCKER -j RETURN\nCOMMIT\n"
    assert not node.path("/var/lib/cni").exists()


def test_node_without_pods_has_none_left(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    node.write("/proc/self/mounts", "tmpfs /run tmpfs rw 0 0\n")
    node.write("/proc/1/stat", "1 (init) S 0 1\n")
    node.write("/proc/1/cmdline", "/sbin/init\0")
    assert not pods.Pods(node).left()


def test_process_of_a_pod_is_killed_and_one_that_stays_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods, "_TIMEOUT", -1.0)
    node = FakeNode(tmp_path)
    with subprocess.Popen(["sleep", "600"]) as shim:
        # As /proc shows it, before and after it was killed.
        node.write(f"/proc/{shim.pid}/stat", f"{shim.pid} (a) b) S 1 1\n")
        node.write(f"/proc/{shim.pid}/cmdline", f"containerd-shim\0-address\0{pods.SOCKET}\0")
        with pytest.raises(UserError, match=rf"do not end: \[{shim.pid}\]; reboot the node"):
            pods.Pods(node).end()
        assert shim.wait(30) == -9
