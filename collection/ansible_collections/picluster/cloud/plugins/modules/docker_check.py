#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Ask a node's Docker what a user would ask: run a container."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_check
short_description: Run a real container, without any registry
description:
  - Makes an image of one file, a static busybox, runs a container from it and looks from inside whether it is one
    - process 1 of its own,
    the hostname it was given, a root directory with nothing of the node in it, an address on the engine's bridge.
  - Leaves neither image nor container behind and never reports a change.
version_added: 0.1.0
options:
  node:
    description: The node's name, for the report.
    type: str
    required: true
  busybox:
    description: A statically linked busybox on the node.
    type: path
    default: /bin/busybox
  network:
    description: The network that the container is put on.
    type: str
    default: bridge
  timeout:
    description: Seconds that one answer of the engine may take.
    type: int
    default: 120
attributes:
  check_mode:
    support: full
    description: Runs the same, because it leaves nothing behind.
  diff_mode:
    support: none
    description: Nothing changes.
  idempotent:
    support: full
    description: Nothing changes.
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Run a container
  picluster.cloud.docker_check:
    node: "{{ inventory_hostname }}"
"""

RETURN = r"""
picluster_status:
  description: One entry for the layer docker, with state ok or failed and what was found.
  returned: always
  type: list
  elements: dict
  sample: [{node: red1, layer: docker, state: ok, detail: "Docker 26.1.5 ran a container at 172.17.0.2"}]
"""

import hashlib
import io
import ipaddress
import secrets
import subprocess
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

# Every answer has a name, so that a line more or less of busybox's own does no harm.
PROBE = """
echo "pid=$$"
echo "hostname=$(/busybox hostname)"
echo "root=$(/busybox ls / | /busybox tr '\\n' ' ')"
echo "address=$(/busybox ip -o -4 addr show dev eth0 | /busybox awk '{print $4}')"
"""
# What the engine itself puts into every container's root directory.
ENGINE_FILES = {"dev", "etc", "proc", "sys", ".dockerenv"}


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


def judge(answers: dict[str, str], hostname: str, node_addresses: set[str], *, on_bridge: bool) -> str | None:
    """Return one sentence if what ran was no container of its own, else None.

    Args:
        answers: what the probe said.
        hostname: the hostname that the container was given.
        node_addresses: the node's own IPv4 addresses.
        on_bridge: whether it must have an address of its own.
    """
    if answers.get("pid") != "1":
        return (
            f"the container's first process has number {answers.get('pid', '(none)')}, wanted 1: it does not run "
            "in a process namespace of its own"
        )
    if answers.get("hostname") != hostname:
        return (
            f"the container is called {answers.get('hostname', '(nothing)')}, wanted {hostname}: it is not the "
            "one that was started"
        )
    strangers = set(answers.get("root", "").split()) - ENGINE_FILES
    if strangers != {"busybox"}:
        return (
            f"the container's root directory holds {' '.join(sorted(strangers)) or 'nothing'}, wanted only "
            "busybox: it is not the image that was made"
        )
    return _address_problem(answers.get("address", ""), node_addresses) if on_bridge else None


def _address_problem(answer: str, node_addresses: set[str]) -> str | None:
    try:
        address = ipaddress.ip_interface(answer).ip
    except ValueError:
        return "the container has no IPv4 address on eth0: Docker's bridge does not work on this node"
    if str(address) in node_addresses:
        return f"the container has the node's own address {address}, wanted one of Docker's bridge"
    return None


class Docker:
    """The node's engine, through its client."""

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout

    def ask(self, *arguments: str, feed: bytes | None = None) -> str:
        """Return what `docker` prints; raise ValueError with its own words if it fails or does not answer."""
        try:
            done = subprocess.run(
                ["docker", *arguments], input=feed, capture_output=True, timeout=self._timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"docker {arguments[0]} gave no answer within {self._timeout} s") from error
        except FileNotFoundError as error:
            raise ValueError("there is no docker client on this node") from error
        if done.returncode != 0:
            words = (done.stderr or done.stdout).decode(errors="replace").split()
            raise ValueError(f"docker {arguments[0]} failed: {' '.join(words)}")
        return done.stdout.decode(errors="replace").strip()

    def run_probe(self, busybox: Path, network: str) -> str:
        """Run the probe in a container of its own, judge it, clean up; return what to report."""
        version = self.ask("version", "--format", "{{.Server.Version}}")
        try:
            archive = image_archive(busybox.read_bytes())
        except OSError as error:
            raise ValueError(f"cannot read {busybox}: {error.strerror}; install busybox-static") from error
        tag = image_tag(archive)
        name = f"probe-{secrets.token_hex(4)}"
        node_addresses = set(
            subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
        )
        self.ask("import", "-", tag, feed=archive)
        try:
            run = ["run", "--rm", "--pull=never", "--name", name, "--hostname", name, "--network", network]
            output = self.ask(*run, "--label", "picluster.check=1", tag, "/busybox", "sh", "-c", PROBE)
        finally:
            self._clean_up(tag)
        problem = judge(parse_probe(output), name, node_addresses, on_bridge=network == "bridge")
        if problem:
            raise ValueError(problem)
        where = parse_probe(output).get("address", "").partition("/")[0]
        return f"Docker {version} ran a container" + (f" at {where}" if where else "")

    def _clean_up(self, tag: str) -> None:
        """Remove the image and every container of it, those of a killed run included."""
        left = self.ask("ps", "--all", "--quiet", "--filter", "label=picluster.check=1").split()
        if left:
            self.ask("rm", "--force", "--volumes", *left)
        self.ask("rmi", "--force", tag)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "busybox": {"type": "path", "default": "/bin/busybox"},
            "network": {"type": "str", "default": "bridge"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    status = {"node": module.params["node"], "layer": "docker"}
    try:
        detail = Docker(module.params["timeout"]).run_probe(Path(module.params["busybox"]), module.params["network"])
    except ValueError as error:
        module.fail_json(msg=str(error), picluster_status=[{**status, "state": "failed", "detail": str(error)}])
    module.exit_json(changed=False, picluster_status=[{**status, "state": "ok", "detail": detail}])


if __name__ == "__main__":
    main()
