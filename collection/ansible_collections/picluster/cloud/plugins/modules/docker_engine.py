#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Install and configure the Docker engine of a node, or remove it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_engine
short_description: Install and configure the Docker engine from Debian's packages
description:
  - Installs the engine, its client where that is a package of its own, and a static busybox to verify it with; writes
    C(/etc/docker/daemon.json), adds users to the group C(docker), enables and starts the service, and restarts it only
    when its configuration changed.
  - Records in C(/var/lib/picluster/docker) which packages it installed, which users it added and which C(daemon.json)
    it found.
  - With O(state=absent) it removes the service, the packages and the configuration as far as that record names them;
    images, containers and volumes under C(/var/lib/docker) stay. Without a record, Docker is the user's own and nothing
    is changed.
  - Its action plugin records in C(seen.json) beside the inventory whether the node has Docker.
  - An engine of another origin (docker-ce, for example) is used as it is; only its configuration, users and service are
    managed, and with O(state=absent) its former C(daemon.json) is restored.
version_added: 0.1.0
options:
  state:
    description: Whether the node has the engine.
    type: str
    choices: [present, absent]
    default: present
  daemon:
    description:
      - The whole content of C(daemon.json).
      - Passwords in it (in the URL of a proxy, or under a key such as C(token)) are hidden in Ansible's output; then
        only root may read the file.
    type: dict
    default: {}
  users:
    description: Users who may talk to the engine, which grants root-equivalent access.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [picluster.cloud.lock_timeout, picluster.cloud.attributes]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Run Docker with small logs
  picluster.cloud.docker_engine:
    daemon: {log-driver: json-file, log-opts: {max-size: 10m, max-file: "3"}}
    users: [pi]
"""

RETURN = r"""
restarted:
  description: Whether the running engine was restarted.
  returned: success
  type: bool
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.docker.apply import Engine
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import LOCK_TIMEOUT

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "daemon": {"type": "dict", "default": {}},
    "users": {"type": "list", "elements": "str", "default": []},
    "lock_timeout": LOCK_TIMEOUT,
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Install the engine, or remove it."""
    engine = Engine(node, options["lock_timeout"])
    if options["state"] == "present":
        engine.install(options["daemon"], options["users"])
    else:
        engine.remove()
    return {"restarted": engine.restarted}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
