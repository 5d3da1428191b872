#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Ask a node whether its k3s is up and Kubernetes calls the node Ready."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_health
short_description: Is this node's k3s well?
description:
  - The service is active, and Kubernetes calls the node Ready because of what it heard since the service was started.
    Asked with the kubelet's own credentials, on the node itself, once.
version_added: 0.1.0
options:
  node:
    description: Name of this node in Kubernetes.
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
- name: Wait until the node is Ready again
  picluster.cloud.k3s_health:
    node: "{{ inventory_hostname }}"
  register: health
  until: health is succeeded
  retries: 60
  delay: 5
  become: true
"""

RETURN = r"""
detail:
  description: A word on what is well.
  returned: success
  type: str
  sample: k3s-agent is active, Kubernetes calls the node Ready
"""

import calendar
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.kubectl import KUBELET, Kubectl, ready_problem
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.owner import our_unit
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import SERVICES

ROOT = Path("/")


def parse_unit(shown: str) -> tuple[str, float]:
    """Return a unit's state and when its process was started, from `systemctl show` in UTC (0.0 if it was not)."""
    said = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    try:
        started = calendar.timegm(time.strptime(said.get("ExecMainStartTimestamp", ""), "%a %Y-%m-%d %H:%M:%S UTC"))
    except ValueError:
        started = 0
    return said.get("ActiveState", "unknown"), float(started)


def judge(module: AnsibleModule) -> str:
    """Return a word on what is well.

    Raises:
        ValueError: something is not; the message says what.
    """
    service = next((name for name in SERVICES.values() if our_unit(ROOT, name)), "")
    if not service:
        raise ValueError("no k3s of picluster's is installed on this node")
    _rc, shown, _err = module.run_command(
        ["systemctl", "show", service, "--property=ActiveState,ExecMainStartTimestamp"],
        environ_update={"TZ": "UTC", "LC_ALL": "C"},
    )
    state, started = parse_unit(shown)
    if state != "active":
        raise ValueError(f"{service} is {state}; see 'journalctl -u {service}'")
    if not Path(KUBELET).exists():
        raise ValueError("the node has not joined its cluster yet")
    problem = ready_problem(Kubectl(module.run_command, KUBELET).get("node", module.params["node"]), started)
    if problem:
        raise ValueError(problem)
    return f"{service} is active, Kubernetes calls the node Ready"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={"node": {"type": "str", "required": True}}, supports_check_mode=True)
    try:
        detail = judge(module)
    except ValueError as error:
        module.fail_json(msg=f"k3s of {module.params['node']}: {error}")
    module.exit_json(changed=False, detail=detail)


if __name__ == "__main__":
    main()
