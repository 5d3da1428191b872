#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Check whether the Hadoop daemons of this node run and take part in their cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hadoop_health
short_description: Check this node's Hadoop daemons
description:
  - The units of the daemons are active; NameNode and ResourceManager, if they run here, serve; DataNode and NodeManager
    answer and the master uses them. Runs no job. Queries once.
version_added: 0.1.0
extends_documentation_fragment: [picluster.cloud.attributes.query]
options:
  node:
    description: Name of this node.
    type: str
    required: true
  master:
    description: Name of the node with NameNode and ResourceManager.
    type: str
    required: true
  daemons:
    description: The daemons of this node.
    type: list
    elements: str
    choices: [namenode, secondarynamenode, datanode, resourcemanager, nodemanager, historyserver]
    required: true
  user:
    description: A user with a home folder in HDFS.
    type: str
    required: true
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Wait until the worker takes part again
  picluster.cloud.hadoop_health:
    node: "{{ inventory_hostname }}"
    master: red1
    daemons: [datanode, nodemanager]
    user: pi
  register: health
  until: health is succeeded
  retries: 60
  delay: 5
"""

RETURN = r"""
detail:
  description: The daemons that run and take part.
  returned: success
  type: str
  sample: datanode, nodemanager run and take part
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import DAEMONS
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.probe import find_gone, problems, query_cluster
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "node": {"type": "str", "required": True},
    "master": {"type": "str", "required": True},
    "daemons": {"type": "list", "elements": "str", "choices": list(DAEMONS), "required": True},
    "user": {"type": "str", "required": True},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Check the node's daemons."""
    name, daemons = options["node"], options["daemons"]
    shown = node.units.show(*(DAEMONS[daemon].unit for daemon in daemons))
    known = {unit: state["ActiveState"] for unit, state in shown.items() if state["LoadState"] != "not-found"}
    units = {daemon: known.get(DAEMONS[daemon].unit, "") for daemon in daemons}
    state = query_cluster(options["master"], options["user"])
    find_gone(state, [name])
    found = problems(name, daemons, units, state)
    if found:
        raise UserError(f"Hadoop of {name} is not healthy: {'; '.join(found)}")
    return {"detail": f"{', '.join(daemons)} run and take part"}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
