# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The stand-in as processes on loopback, each with its own directories, as k3s's own flags allow."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab import stand_in_archive
from lab.k3s_stand_in.output import FatalError
from lab.k3s_stand_in.settings import parse_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN, AGENT_TOKEN = "server-secret-0123456789", "agent-secret-0123456789"
QUICK = (
    "--kubelet-arg=node-status-update-frequency=0.3s",
    "--kube-controller-manager-arg=node-monitor-grace-period=2s",
)


def until(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, KeyError, ValueError):
            if found := condition():
                return found
        time.sleep(0.05)
    raise AssertionError(f"not in {seconds} s: {what}")


class Cluster:
    def __init__(self, root: Path, program: Path) -> None:
        self.root = root
        self.program = program
        self.processes: list[subprocess.Popen[str]] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        for name, secret in (("token", TOKEN), ("agent-token", AGENT_TOKEN)):
            (root / name).write_text(f"{secret}\n")

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        with (self.root / f"{name}.log").open("a") as journal:
            process = subprocess.Popen(
                [sys.executable, str(self.program), *arguments],
                stderr=journal,
                text=True,
                env=os.environ | {"NOTIFY_SOCKET": str(self.listen(name))},
            )
        self.processes.append(process)
        return process

    def listen(self, name: str) -> Path:
        path = self.root / f"{name}.notify"
        path.unlink(missing_ok=True)
        link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        link.bind(str(path))
        link.setblocking(False)  # noqa: FBT003 - socket's own interface
        setattr(self, f"notify_{name}", link)
        return path

    def is_ready(self, name: str) -> bool:
        return b"READY=1" in getattr(self, f"notify_{name}").recv(1000)

    def server(self, *more: str) -> subprocess.Popen[str]:
        config = self.root / "config.yaml"
        config.write_text(
            f'# a comment\nnode-name: "red1"\ntoken-file: {self.root}/token\n'
            f"agent-token-file: '{self.root}/agent-token'\n"
            'tls-san:\n  - "red1.home"\n  - 10.9.8.7\ndisable: []\n'
        )
        places = ("--config", str(config), "--data-dir", str(self.root / "data"))
        address = ("--bind-address", "127.0.0.1", f"--https-listen-port={self.port}")
        kubeconfig = ("--write-kubeconfig", str(self.root / "k3s.yaml"))
        return self.start("server", "server", *places, *address, *kubeconfig, *QUICK, *more)

    def agent(self, name: str, token: str = AGENT_TOKEN) -> subprocess.Popen[str]:
        file = self.root / f"{name}.token"
        file.write_text(token)
        return self.start(
            name,
            *("agent", "--config", "/none", "--server", self.url, "--token-file", str(file), "--node-name", name),
            *("--data-dir", str(self.root / name), *QUICK),
        )

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text()

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        link = self.root / "kubectl"
        if not link.exists():
            link.symlink_to(self.program)
        return subprocess.run(
            [sys.executable, str(link), *arguments, "--kubeconfig", str(self.root / "k3s.yaml")],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def nodes(self) -> dict[str, str]:
        items = json.loads(self.kubectl("get", "nodes", "-o", "json").stdout)["items"]
        return {item["metadata"]["name"]: item["status"]["conditions"][0]["status"] for item in items}

    def ask(self, path: str, user: str = "", password: str = "") -> int:
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        context = ssl.create_default_context(cafile=str(self.root / "data/server/tls/server-ca.crt"))
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        opener.addheaders = [("Authorization", f"Basic {credentials}")] if user else []
        try:
            with opener.open(self.url + path, timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "k3s"
    stand_in_archive.build(path)
    return path


@pytest.fixture
def cluster(tmp_path: Path, program: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, program)
    yield cluster
    for process in cluster.processes:
        process.terminate()
    for process in cluster.processes:
        process.wait(10)


def test_agent_started_before_its_server_waits_and_joins(cluster: Cluster) -> None:
    agent = cluster.agent("red2")
    until(lambda: "Failed to validate connection" in cluster.log("red2"), "the agent tries")
    with pytest.raises(BlockingIOError):
        cluster.is_ready("red2")
    cluster.server()
    until(lambda: cluster.is_ready("server"), "the server is ready")
    until(lambda: cluster.is_ready("red2"), "the agent is ready")
    until(lambda: cluster.nodes() == {"red1": "True", "red2": "True"}, "both nodes are Ready")
    assert agent.poll() is None


def test_every_output_says_that_it_is_no_kubernetes(cluster: Cluster) -> None:
    cluster.server()
    until(lambda: cluster.is_ready("server"), "the server is ready")
    until(lambda: "red1" in cluster.nodes(), "the node is there")
    version = subprocess.run(
        [sys.executable, str(cluster.program), "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("k3s version v1.36.4+k3s1-stand-in")
    assert "not Kubernetes" in version.stdout
    for arguments in (("get", "nodes"), ("get", "nodes", "-o", "json"), ("version",)):
        assert "stand-in" in cluster.kubectl(*arguments).stdout
    refused = cluster.kubectl("apply", "-f", "-")
    assert refused.returncode == 1
    assert "not Kubernetes" in refused.stderr
    assert "stand-in" in cluster.log("server")


def test_wrong_token_is_refused_for_ever(cluster: Cluster) -> None:
    cluster.server()
    until(lambda: cluster.is_ready("server"), "the server is ready")
    agent = cluster.agent("red2", token="not-the-secret-0123456789")
    until(lambda: cluster.log("red2").count("not authorized") >= 2, "the agent was refused twice")
    assert agent.poll() is None
    assert list(cluster.nodes()) == ["red1"]
    assert "Failed to authenticate request" in cluster.log("server")


def test_servers_secret_does_not_open_what_is_the_agents(cluster: Cluster) -> None:
    cluster.server()
    until(lambda: cluster.is_ready("server"), "the server is ready")
    assert cluster.ask("/v1-k3s/readyz", "node", AGENT_TOKEN) == 200
    assert cluster.ask("/v1-k3s/readyz", "node", TOKEN) == 401
    assert cluster.ask("/v1-k3s/readyz") == 401
    assert cluster.ask("/readyz", "node", AGENT_TOKEN) == 401
    assert cluster.ask("/cacerts") == 200


def test_node_that_falls_silent_becomes_not_ready_and_comes_back(cluster: Cluster) -> None:
    cluster.server()
    agent = cluster.agent("red2")
    until(lambda: cluster.nodes().get("red2") == "True", "red2 is Ready")
    agent.terminate()
    assert agent.wait(10) == 0
    until(lambda: cluster.nodes()["red2"] == "Unknown", "red2 is NotReady")
    assert "NotReady" in cluster.kubectl("get", "nodes").stdout
    cluster.agent("red2")
    until(lambda: cluster.nodes()["red2"] == "True", "red2 is Ready again")


def test_restarted_server_knows_its_nodes_and_its_ca(cluster: Cluster) -> None:
    first = cluster.server()
    until(lambda: cluster.is_ready("server"), "the server is ready")
    cluster.agent("red2")
    until(lambda: cluster.is_ready("red2"), "the agent is ready")
    ca = (cluster.root / "data/server/tls/server-ca.crt").read_text()
    first.terminate()
    first.wait(10)
    cluster.server()
    until(lambda: cluster.is_ready("server"), "the server is ready again")
    assert set(cluster.nodes()) == {"red1", "red2"}
    assert (cluster.root / "data/server/tls/server-ca.crt").read_text() == ca


def test_files_are_k3s_own_and_for_root_only(cluster: Cluster) -> None:
    cluster.server()
    until(lambda: cluster.is_ready("server"), "the server is ready")
    server = cluster.root / "data/server"
    digest = hashlib.sha256((server / "tls/server-ca.crt").read_bytes()).hexdigest()
    assert (server / "token").read_text() == f"K10{digest}::server:{TOKEN}\n"
    assert (server / "node-token").readlink() == Path("token")
    assert (server / "agent-token").read_text() == f"K10{digest}::node:{AGENT_TOKEN}\n"
    for path in (server / "token", server / "agent-token", server / "tls/serving.key", cluster.root / "k3s.yaml"):
        assert path.stat().st_mode & 0o077 == 0


def test_pinned_token_joins_the_right_server_only(cluster: Cluster) -> None:
    cluster.server()
    until(lambda: cluster.is_ready("server"), "the server is ready")
    cluster.agent("red2", token=(cluster.root / "data/server/agent-token").read_text())
    until(lambda: cluster.is_ready("red2"), "the agent is ready")
    other = cluster.agent("red3", token=f"K10{'0' * 64}::node:{AGENT_TOKEN}")
    assert other.wait(20) == 1
    assert "does not match the Cluster CA" in cluster.log("red3")


def test_another_server_token_on_old_data_is_fatal(cluster: Cluster) -> None:
    first = cluster.server()
    until(lambda: cluster.is_ready("server"), "the server is ready")
    first.terminate()
    first.wait(10)
    (cluster.root / "token").write_text("another-secret-0123456789\n")
    assert cluster.server().wait(20) == 1
    assert "encrypted with different token" in cluster.log("server")


def test_deleted_node_is_gone_until_it_speaks_again(cluster: Cluster) -> None:
    cluster.server()
    agent = cluster.agent("red2")
    until(lambda: "red2" in cluster.nodes(), "red2 is there")
    agent.terminate()
    agent.wait(10)
    assert cluster.kubectl("delete", "node", "red2").returncode == 0
    assert list(cluster.nodes()) == ["red1"]


def test_secrets_are_on_no_command_line_and_in_no_log(cluster: Cluster) -> None:
    server = cluster.server()
    cluster.agent("red2")
    until(lambda: cluster.nodes().get("red2") == "True", "red2 is Ready")
    assert TOKEN.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    for name in ("server", "red2"):
        assert "secret" not in cluster.log(name)


@pytest.mark.parametrize(
    "arguments",
    [
        ("agent", "--config", "/none"),
        ("server", "--token-file"),
        ("server", "surplus"),
        ("check-config",),
        ("ctr", "images", "ls"),
        (),
    ],
)
def test_what_it_cannot_do_ends_with_a_fatal_line(program: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, str(program), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "level=fatal" in done.stderr
    assert "stand-in" in done.stderr


def test_config_file_is_read_as_the_role_writes_it() -> None:
    text = (
        '# header\nnode-name: "red1"\nquiet: true\nkubelet-arg:\n  - "v=4"\n  - "a=b: c"\ndisable: []\nextra+:\n- x\n'
    )
    assert parse_config(text) == {
        "node-name": ["red1"],
        "quiet": ["true"],
        "kubelet-arg": ["v=4", "a=b: c"],
        "disable": [],
        "extra": ["x"],
    }


@pytest.mark.parametrize("text", ["- x\n", "a:\n  b: c\n", "just words\n"])
def test_config_file_beyond_it_is_refused(text: str) -> None:
    with pytest.raises(FatalError, match="config file line"):
        parse_config(text)
