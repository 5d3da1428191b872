"""The container that proves a node's Docker: what convinces, what does not, and that nothing is left behind."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.docker import probe
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.modules.docker_check import converge

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"pid": "1", "hostname": "probe-1", "root": ".dockerenv busybox dev etc proc sys", "address": "172.17.0.2/16"}
NODE = {"192.168.63.11", "172.17.0.1"}
DOCKER = "timeout --signal=KILL 120 docker"
OPTIONS = {"node": "red1", "busybox": "/bin/busybox", "network": "bridge", "timeout": 120}


class Probed(FakeNode):
    """A node whose engine runs what it is given, with a container of a killed check left over."""

    def __init__(self, root: Path, **lie: str) -> None:
        super().__init__(root)
        self.lie = lie
        self.image = b""
        self.write("/bin/busybox", "ELF")
        self.answers |= {
            "hostname -I": "192.168.63.11 172.17.0.1\n",
            f"{DOCKER} version": "28.1\n",
            f"{DOCKER} import": self.load,
            f"{DOCKER} run": self.start,
            f"{DOCKER} ps": "c0ffee\n",
            f"{DOCKER} rm": "",
            f"{DOCKER} rmi": "",
        }

    def load(self, *command: str) -> str:
        with open(command[-2], "rb") as stream:  # noqa: PTH123 - as docker opens it
            self.image = stream.read()
        return ""

    def start(self, *command: str) -> str:
        told = {**GOOD, "hostname": command[command.index("--hostname") + 1], **self.lie}
        return "".join(f"{name}={value}\n" for name, value in told.items())


def test_a_container_is_run_and_nothing_is_left_behind(tmp_path: Path) -> None:
    node = Probed(tmp_path)
    assert converge(node, OPTIONS) == {
        "picluster_status": [
            {"node": "red1", "layer": "docker", "state": "ok", "detail": "Docker 28.1 ran a container at 172.17.0.2"}
        ]
    }
    tag = probe.image_tag(node.image)
    assert node.commands[-2:] == [f"{DOCKER} rm --force --volumes c0ffee", f"{DOCKER} rmi --force {tag}"]
    assert node.diff == []


@pytest.mark.parametrize(
    ("program", "outcome", "words"),
    [
        ("version", Outcome(127, err="timeout: failed to run command"), "the docker client is not installed"),
        ("version", Outcome(1, err="Cannot connect\nto the daemon"), "docker version failed: Cannot connect to the"),
        ("run", Outcome(127, err="exec failed"), "docker run failed: exec failed"),
        ("run", Outcome(-9), "docker run gave no answer within 120 s"),
    ],
)
def test_a_docker_that_fails_is_reported_to_the_summary(
    tmp_path: Path, program: str, outcome: Outcome, words: str
) -> None:
    node = Probed(tmp_path)
    node.answers[f"{DOCKER} {program}"] = outcome
    answer = converge(node, OPTIONS)
    assert answer["failed"]
    assert answer["msg"].startswith(words)
    assert answer["picluster_status"] == [
        {"node": "red1", "layer": "docker", "state": "failed", "detail": answer["msg"]}
    ]
    # What was imported goes again.
    assert (f"{DOCKER} rmi --force {probe.image_tag(node.image)}" in node.commands) == (program == "run")


def test_a_node_without_busybox_is_one_sentence(tmp_path: Path) -> None:
    node = Probed(tmp_path)
    node.path("/bin/busybox").unlink()
    assert converge(node, OPTIONS)["msg"] == (
        "busybox cannot be read: /bin/busybox: No such file or directory; install busybox-static"
    )


def test_a_probe_that_runs_on_the_node_itself_fails_the_check(tmp_path: Path) -> None:
    assert converge(Probed(tmp_path, pid="4242"), OPTIONS)["failed"]


def test_the_image_has_one_file_and_its_name_comes_from_its_content() -> None:
    archive = probe.image_archive(b"ELF")
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert [(m.name, m.mode) for m in opened.getmembers()] == [("busybox", 0o755)]
    assert probe.image_tag(archive) == probe.image_tag(probe.image_archive(b"ELF"))
    assert probe.image_tag(archive) != probe.image_tag(probe.image_archive(b"ELG"))


def test_a_real_container_convinces() -> None:
    assert probe.isolation_problem(GOOD, "probe-1", NODE, on_bridge=True) == ""


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"pid": "4242"}, "no process namespace of its own"),
        ({"hostname": "red1"}, "its hostname is red1, expected probe-1"),
        ({"root": "bin home busybox"}, "contains bin busybox home"),
        ({"root": ""}, "contains nothing"),
        ({"address": ""}, "no IPv4 address"),
        ({"address": "192.168.63.11/24"}, "shares the node's address"),
    ],
)
def test_a_probe_that_is_not_isolated_is_found_out(lie: dict[str, str], words: str) -> None:
    problem = probe.isolation_problem(GOOD | lie, "probe-1", NODE, on_bridge=True)
    assert words in problem


def test_no_answer_at_all_does_not_convince() -> None:
    assert probe.isolation_problem(probe.parse_probe(""), "probe-1", NODE, on_bridge=True) != ""


def test_another_network_than_the_bridge_needs_no_address() -> None:
    assert probe.isolation_problem(GOOD | {"address": ""}, "probe-1", NODE, on_bridge=False) == ""
