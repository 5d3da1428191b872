"""The Docker engine and the container that proves it."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils import _apt
from ansible_collections.picluster.cloud.plugins.modules import docker_check, docker_engine

GOOD = {"pid": "1", "hostname": "probe-1", "root": ".dockerenv busybox dev etc proc sys", "address": "172.17.0.2/16"}
NODE = {"192.168.63.11", "172.17.0.1"}


def test_the_same_settings_give_the_same_text_whatever_their_order() -> None:
    assert docker_engine.render({"b": 1, "a": 2}) == docker_engine.render({"a": 2, "b": 1})
    assert json.loads(docker_engine.render({"a": [1]})) == {"a": [1]}


def test_only_users_who_are_not_members_are_added() -> None:
    assert docker_engine.missing_users(["pi", "alice"], {"pi", "alice", "root"}, {"pi"}) == ["alice"]


def test_a_user_whom_the_node_does_not_know_is_named() -> None:
    with pytest.raises(ValueError, match="docker_users names bob, but"):
        docker_engine.missing_users(["pi", "bob"], {"pi"}, set())


def test_the_reason_why_dockerd_died_is_found_in_its_journal() -> None:
    journal = (
        "Starting docker.service...\n"
        "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives "
        "don't match any configuration option: foo\n"
        "docker.service: Main process exited, code=exited, status=1/FAILURE\n"
    )
    assert docker_engine.cause_of_death(journal).startswith("unable to configure the Docker daemon with file")
    assert docker_engine.cause_of_death("Stopped.\n") == ""


def test_dpkg_s_answer_counts_only_what_is_installed() -> None:
    assert _apt.parse_installed("docker.io installed\ncontainerd config-files\nrunc not-installed\n") == {"docker.io"}


def test_a_package_without_a_candidate_is_not_known() -> None:
    policy = (
        "docker.io:\n  Installed: (none)\n  Candidate: 26.1.5\n  Version table:\ndocker-cli:\n  Installed: "
        "(none)\n  Candidate: (none)\n"
    )
    assert _apt.parse_candidates(policy) == {"docker.io"}


def test_the_image_has_one_file_and_its_name_comes_from_its_content() -> None:
    archive = docker_check.image_archive(b"ELF")
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert [(m.name, m.mode) for m in opened.getmembers()] == [("busybox", 0o755)]
    assert docker_check.image_tag(archive) == docker_check.image_tag(docker_check.image_archive(b"ELF"))
    assert docker_check.image_tag(archive) != docker_check.image_tag(docker_check.image_archive(b"ELG"))


def test_a_real_container_convinces() -> None:
    assert docker_check.judge(GOOD, "probe-1", NODE, on_bridge=True) is None


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"pid": "4242"}, "process namespace"),
        ({"hostname": "red1"}, "called red1, wanted probe-1"),
        ({"root": "bin home busybox"}, "holds bin busybox home"),
        ({"root": ""}, "holds nothing"),
        ({"address": ""}, "no IPv4 address"),
        ({"address": "192.168.63.11/24"}, "the node's own address"),
    ],
)
def test_what_is_no_container_of_its_own_is_found_out(lie: dict[str, str], words: str) -> None:
    problem = docker_check.judge(GOOD | lie, "probe-1", NODE, on_bridge=True)
    assert problem is not None
    assert words in problem


def test_no_answer_at_all_does_not_convince() -> None:
    assert docker_check.judge(docker_check.parse_probe(""), "probe-1", NODE, on_bridge=True) is not None


def test_another_network_than_the_bridge_needs_no_address() -> None:
    assert docker_check.judge(GOOD | {"address": ""}, "probe-1", NODE, on_bridge=False) is None
