# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Prove that a node's Docker runs containers: make an image without any registry, run it, look from inside."""

from __future__ import annotations

import hashlib
import io
import ipaddress
import secrets
import tarfile
import tempfile
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

# Every answer has a name, so that an additional line of busybox's own does no harm.
PROBE = """
echo "pid=$$"
echo "hostname=$(/busybox hostname)"
echo "root=$(/busybox ls / | /busybox tr '\\n' ' ')"
echo "address=$(/busybox ip -o -4 addr show dev eth0 | /busybox awk '{print $4}')"
"""
# What the engine itself puts into every container's root directory.
ENGINE_FILES = {"dev", "etc", "proc", "sys", ".dockerenv"}
LABEL = "picluster.check=1"
_NOT_FOUND = 127
# timeout(1) kills itself together with its command.
_KILLED = -9


def image_archive(busybox: bytes) -> bytes:
    """Return a root file system archive with `busybox` as its only file, the same bytes on every call."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("busybox")
        entry.size = len(busybox)
        entry.mode = 0o755
        archive.addfile(entry, io.BytesIO(busybox))
    return buffer.getvalue()


def image_tag(archive: bytes) -> str:
    """Return the image's name, made from its content."""
    return f"picluster-check:{hashlib.sha256(archive).hexdigest()[:12]}"


def parse_probe(output: str) -> dict[str, str]:
    """Return the probe's answers by name."""
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def isolation_problem(answers: dict[str, str], hostname: str, node_addresses: set[str], *, on_bridge: bool) -> str:
    """Return one sentence if the probe did not run in a container of its own, else an empty text.

    Args:
        answers: The probe's answers.
        hostname: The hostname that the container was given.
        node_addresses: The node's own IPv4 addresses.
        on_bridge: Whether it must have an address of its own.
    """
    if answers.get("pid") != "1":
        return (
            f"the container has no process namespace of its own: its first process is {answers.get('pid', '(none)')}, "
            "expected 1"
        )
    if answers.get("hostname") != hostname:
        return (
            f"the container is not the one that was started: its hostname is {answers.get('hostname', '(none)')}, "
            f"expected {hostname}"
        )
    others = set(answers.get("root", "").split()) - ENGINE_FILES
    if others != {"busybox"}:
        return (
            "the container does not run the image that was made: its root directory contains "
            f"{' '.join(sorted(others)) or 'nothing'}, expected only busybox"
        )
    return _address_problem(answers.get("address", ""), node_addresses) if on_bridge else ""


def _address_problem(answer: str, node_addresses: set[str]) -> str:
    try:
        address = ipaddress.ip_interface(answer).ip
    except ValueError:
        return "the container has no IPv4 address on eth0: Docker's bridge does not work on this node"
    if str(address) in node_addresses:
        return f"the container shares the node's address: {address}; expected an address of Docker's bridge"
    return ""


class DockerProbe:
    """A container run through the node's docker client."""

    def __init__(self, node: Node, timeout: int) -> None:
        """Wait up to `timeout` seconds for each answer of the engine."""
        self._node = node
        self._timeout = timeout

    def run(self, busybox: str, network: str) -> str:
        """Run the probe in a container of its own, judge it, clean up.

        Args:
            busybox: Path of a static busybox on the node.
            network: The network that the container is put on.

        Returns:
            What the report says.

        Raises:
            UserError: Docker does not work; the message says what was found.
        """
        version = self._docker("version", "--format", "{{.Server.Version}}").strip()
        try:
            archive = image_archive(self._node.path(busybox).read_bytes())
        except OSError as error:
            raise UserError(f"busybox cannot be read: {busybox}: {error.strerror}; install busybox-static") from error
        tag = image_tag(archive)
        name = f"probe-{secrets.token_hex(4)}"
        node_addresses = set(self._node.run("hostname", "-I").out.split())
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            file.write(archive)
            file.flush()
            self._docker("import", file.name, tag)
        try:
            run = ["run", "--rm", "--pull=never", "--name", name, "--hostname", name, "--network", network]
            output = self._docker(*run, "--label", LABEL, tag, "/busybox", "sh", "-c", PROBE)
        finally:
            self._clean_up(tag)
        answers = parse_probe(output)
        if problem := isolation_problem(answers, name, node_addresses, on_bridge=network == "bridge"):
            raise UserError(problem)
        address = answers.get("address", "").partition("/")[0]
        return f"Docker {version} ran a container" + (f" at {address}" if address else "")

    def _docker(self, *arguments: str) -> str:
        # KILL: docker run would pass TERM on to the container, whose shell ignores it.
        outcome = self._node.run("timeout", "--signal=KILL", str(self._timeout), "docker", *arguments)
        # docker run ends so as well, if the container lacks its command.
        if outcome.code == _NOT_FOUND and arguments[0] == "version":
            raise UserError("the docker client is not installed on this node; run the role docker first")
        if outcome.code == _KILLED:
            raise UserError(f"docker {arguments[0]} gave no answer within {self._timeout} s")
        if not outcome.ok:
            raise UserError(f"docker {arguments[0]} failed: {outcome.reason}")
        return outcome.out

    def _clean_up(self, tag: str) -> None:
        """Remove the image and every container of it, those of a killed run included."""
        left = self._docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}").split()
        if left:
            self._docker("rm", "--force", "--volumes", *left)
        self._docker("rmi", "--force", tag)
