"""The pod check's image, built on a node of each release and run with the pod's own command, as Kubernetes would."""

from __future__ import annotations

import base64
import subprocess
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.probe import IMAGE
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.verdict import PROBE_NAME, probe_manifest
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.verify import query_pod
from lab import recipe
from lab.engine import Container, Docker
from lab.image import Builder
from lab.report import Reporter
from lab.state import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

# Not beside tests that unmount disks: see bootstrap/tests/firstboot/test_nodes.py.
pytestmark = pytest.mark.xdist_group("mounts")
# Far beyond what a start and an end take; only a pod that does neither waits so long.
SECONDS = 30
BUILD = """\
import base64
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.probe import build
print(base64.b64encode(build()).decode())
"""


@dataclass(frozen=True)
class Pod:
    """A container of the image, started as the DaemonSet says."""

    docker: Docker
    name: str
    address: str

    def runs(self) -> bool:
        status = self.docker.status(self.name)
        return status is not None and status.running


def run(docker: Docker, *words: str, given: bytes = b"", seconds: float | None = None) -> str:
    done = subprocess.run([*docker._program, *words], input=given, capture_output=True, check=True, timeout=seconds)
    return done.stdout.decode().strip()


@pytest.fixture(params=recipe.SUITES)
def pod(request: pytest.FixtureRequest) -> Iterator[Pod]:
    docker = Docker.find()
    system = recipe.card(request.param, recipe.apt_of_host(request.param))
    node = Container(
        image=Builder(docker, Reporter()).system(system),
        command=("env", "PYTHONPATH=/collection", "python3", "-c", BUILD),
        network="none",
        binds=[(ROOT / "collection", "/collection", "ro")],
    )
    archive = base64.b64decode(docker.once(node))
    run(docker, "load", given=archive)
    # Two releases' images have one name; the id stays each one's own.
    image = run(docker, "image", "inspect", "--format", "{{.Id}}", IMAGE)
    container: dict[str, Any] = probe_manifest("abc")["spec"]["template"]["spec"]["containers"][0]
    entry, *arguments = container["command"]
    environment = {"NODE": "red1"} | {item["name"]: item["value"] for item in container["env"] if "value" in item}
    options = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    name = f"{PROBE_NAME}-{uuid.uuid4().hex[:8]}"
    try:
        run(docker, "run", "--detach", "--name", name, "--entrypoint", entry, *options, image, *arguments)
        found = docker.status(name)
        assert found is not None
        yield Pod(docker, name, found.address)
    finally:
        docker.remove([name])
        run(docker, "image", "rm", "--force", image)


def test_the_pod_serves_its_nodes_name_and_ends_when_it_is_told_to(pod: Pod) -> None:
    deadline = time.monotonic() + SECONDS
    while (answer := query_pod(pod.address, "red1")) and pod.runs() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer == "", pod.docker.logs(pod.name)
    assert "answers as 'red1'" in query_pod(pod.address, "red2")
    run(pod.docker, "kill", "--signal", "TERM", pod.name)
    assert run(pod.docker, "wait", pod.name, seconds=SECONDS) == "0"
