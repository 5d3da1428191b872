#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Ask whether the Hadoop daemons of this node run and take part in their cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hadoop_health
short_description: Are this node's Hadoop daemons well?
description:
  - The daemons' units are active; NameNode and ResourceManager, if they are this node's, serve; DataNode and
    NodeManager answer and are counted on by the master. Runs no job. Asks once.
version_added: 0.1.0
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
    required: true
  user:
    description: A user with a folder of their own in HDFS.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Changes nothing, in check mode or not.
  diff_mode:
    support: none
  idempotent:
    support: full
author: [The picluster authors]
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
  description: A word on what is well.
  returned: success
  type: str
  sample: datanode and nodemanager run and take part
"""

from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import DAEMONS
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.probe import State, ask, find_gone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Which layer's master a daemon is, or which layer's worker.
MASTERS = {"namenode": "hdfs", "resourcemanager": "yarn"}
WORKERS = {"datanode": "hdfs", "nodemanager": "yarn"}


def problems(node: str, daemons: Iterable[str], units: Mapping[str, str], state: State) -> list[str]:
    """Return what is wrong with a node's daemons, one word on each.

    Args:
        node: the node's name.
        daemons: its daemons.
        units: what systemd says of each daemon's unit.
        state: how the cluster is.
    """
    found = []
    for daemon in daemons:
        if units.get(daemon) != "active":
            found.append(f"its {daemon} is {units.get(daemon) or 'unknown to systemd'}")
            continue
        layer = MASTERS.get(daemon) or WORKERS.get(daemon)
        if layer and state.why[layer]:
            found.append(state.why[layer])
        elif daemon in WORKERS and node not in state.there[WORKERS[daemon]]:
            found.append(state.absent[WORKERS[daemon]].get(node) or f"its {daemon} has not registered")
    return list(dict.fromkeys(found))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "master": {"type": "str", "required": True},
            "daemons": {"type": "list", "elements": "str", "required": True},
            "user": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    node, daemons = module.params["node"], module.params["daemons"]
    unknown = [name for name in daemons if name not in DAEMONS]
    if unknown:
        module.fail_json(msg=f"{', '.join(unknown)} is no daemon of Hadoop, wanted are {', '.join(DAEMONS)}")
    units = {}
    for name in daemons:
        _rc, said, _err = module.run_command(["systemctl", "is-active", DAEMONS[name].unit])
        units[name] = said.strip()
    state = ask(module.params["master"], module.params["user"])
    find_gone(state, [node])
    found = problems(node, daemons, units, state)
    if found:
        module.fail_json(msg=f"Hadoop of {node}: {'; '.join(found)}")
    module.exit_json(changed=False, detail=f"{', '.join(daemons)} run and take part")


if __name__ == "__main__":
    main()
