from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from lab.engine import CAPABILITIES, Container, Docker, capabilities_in, docker_arguments, host_capabilities
from lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path


def test_capabilities_are_in_the_kernels_order() -> None:
    # As in include/uapi/linux/capability.h.
    numbers = {
        name: CAPABILITIES.index(name) for name in ("CHOWN", "NET_ADMIN", "SYS_ADMIN", "SYS_RESOURCE", "AUDIT_READ")
    }
    assert numbers == {"CHOWN": 0, "NET_ADMIN": 12, "SYS_ADMIN": 21, "SYS_RESOURCE": 24, "AUDIT_READ": 37}


def test_only_what_the_host_has_is_asked_for(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t000001fffeffffff\nCapAmb:\t0\n", "ascii")
    found = host_capabilities(status)
    assert "SYS_RESOURCE" not in found
    assert {"SYS_ADMIN", "NET_ADMIN", "MKNOD"} <= set(found)


def test_capabilities_without_a_name_in_the_engine_are_not_asked_for() -> None:
    assert capabilities_in((1 << 41) - 1) == list(CAPABILITIES)


def test_a_host_without_capabilities_is_refused_in_one_sentence(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\n", "ascii")
    with pytest.raises(LabError, match="CapBnd"):
        host_capabilities(status)


def test_a_container_asks_for_what_it_says_and_never_for_privileged(tmp_path: Path) -> None:
    words = docker_arguments(
        Container(
            image="picluster/card-trixie:1",
            name="red-red1",
            network="none",
            private_cgroups=True,
            unconfined=True,
            capabilities=["SYS_ADMIN"],
            binds=[(tmp_path, "/boot/firmware", "rw"), (tmp_path, "/etc/fstab", "ro")],
            volumes=["/var/lib/docker"],
            labels={"picluster.cluster": "red"},
            command=["/sbin/init"],
        )
    )
    assert "--privileged" not in words
    pairs = list(itertools.pairwise(words))
    assert ("--network", "none") in pairs
    assert ("--cgroupns", "private") in pairs
    assert ("--cap-add", "SYS_ADMIN") in pairs
    assert ("--security-opt", "systempaths=unconfined") in pairs
    assert ("--mount", f"type=bind,source={tmp_path},target=/boot/firmware") in pairs
    assert ("--mount", f"type=bind,source={tmp_path},target=/etc/fstab,readonly") in pairs
    assert words[-2:] == ["picluster/card-trixie:1", "/sbin/init"]


def test_a_container_that_asks_for_nothing_gets_nothing_and_never_a_registrys_image() -> None:
    assert docker_arguments(Container(image="x")) == ["--pull", "never", "x"]


def test_without_an_engine_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="host-setup"):
        Docker.find()
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n", "ascii")
    docker.chmod(0o755)
    with pytest.raises(LabError, match="No Docker engine answers"):
        Docker.find()


def test_what_the_engine_says_reaches_the_user(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho 'no space left on device' >&2\nexit 125\n", "ascii")
    docker.chmod(0o755)
    with pytest.raises(LabError, match="docker run failed: no space left on device"):
        Docker([str(docker)]).start(Container(image="x"))
