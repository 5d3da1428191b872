#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Verify a node's Docker as a user would: run a container."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_check
short_description: Run a real container, without any registry
description:
  - Makes an image of one file, a static busybox, runs a container from it and checks from inside that it is isolated -
    process 1 of its own, the hostname it was given, a root directory without the node's files, an address on the
    engine's bridge.
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
extends_documentation_fragment: [picluster.cloud.attributes.query]
attributes:
  check_mode:
    description: Runs the same container in any mode and removes it.
author: [The picluster authors (!UNKNOWN)]
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

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.docker.probe import DockerProbe
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "node": {"type": "str", "required": True},
    "busybox": {"type": "path", "default": "/bin/busybox"},
    "network": {"type": "str", "default": "bridge"},
    "timeout": {"type": "int", "default": 120},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Run the container; the report goes with a failure, too."""
    status = {"node": options["node"], "layer": "docker"}
    try:
        detail = DockerProbe(node, options["timeout"]).run(options["busybox"], options["network"])
    except UserError as error:
        failed = {**status, "state": "failed", "detail": str(error)}
        return {"failed": True, "msg": str(error), "picluster_status": [failed]}
    return {"picluster_status": [{**status, "state": "ok", "detail": detail}]}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
