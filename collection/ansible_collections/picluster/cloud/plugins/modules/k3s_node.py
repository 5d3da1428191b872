#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Make a node a k3s server, a k3s agent, or neither."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_node
short_description: Make a node a k3s server, a k3s agent, or neither
description:
  - Converges all of k3s on a node in one call, once its binary is at C(/usr/local/bin/k3s-<version>) - links,
    configuration, tokens, registries, the systemd unit, and the running service.
  - The service is started without waiting. Agents retry until their server answers, so all nodes may start at once.
  - It is restarted only if one of its inputs changed, also when an earlier run was killed before its restart.
  - V(none) ends pods and service and removes unit, configuration and binaries. Data in C(/var/lib/rancher) stays,
    and so does the node's password in C(/etc/rancher/node).
version_added: 0.1.0
options:
  role:
    description: The desired role of the node.
    type: str
    choices: [server, agent, none]
    required: true
  artifact:
    description:
      - The binary as M(picluster.cloud.artifacts) returned it. Ignored for V(none).
      - An empty one is an error for a server or an agent; with O(optional) the node is left as it is instead.
    type: dict
    default: {}
  optional:
    description: Whether a server or an agent without O(artifact) is skipped instead of failing.
    type: bool
    default: false
  server_address:
    description: Address of the first server.
    type: str
    default: ''
  node_name:
    description: Name of the node in Kubernetes.
    type: str
    default: ''
  node_address:
    description: Address of the node.
    type: str
    default: ''
  token:
    description: Secret of the servers.
    type: str
    default: ''
  agent_token:
    description: Secret with which agents join.
    type: str
    default: ''
  config:
    description:
      - Further keys of config.yaml, as a string of JSON; a list is appended to the role's own.
      - A string, because it can hold secrets. It is kept out of the node's log as a whole, while each value of a
        mapping would be masked on its own, everywhere in the answer, V(true) and V(/) too.
    type: json
    default: ''
  registries:
    description: Content of registries.yaml, as a string of JSON for the same reason.
    type: json
    default: ''
  containerd_template:
    description: Template of containerd's configuration, as a string of JSON for the same reason.
    type: json
    default: ''
  limit_nofile:
    description: Open files that the service may have, at least 1; lowered where the node's init may not allow so many.
    type: int
    default: 1048576
  probe:
    description: Whether to keep an image for the pod check, made of the node's busybox, among k3s's images.
    type: bool
    default: true
  images:
    description:
      - Whether to keep C(k3s-airgap-images.tar.zst), which the role put among k3s's images; otherwise it is removed.
    type: bool
    default: false
  recorded_server:
    description: Whether server data was seen on this node before; the action plugin sets it from its record.
    type: bool
    default: false
  give_up_cluster:
    description:
      - Name of the node whose cluster is given up. Without it a server's data is never left behind for another server,
        and a node that had the data, or was an agent, never starts a new, empty cluster.
      - The data on the node of this name is moved to C(/var/lib/rancher/k3s/server.given-up-<number>).
    type: str
    default: ''
extends_documentation_fragment: [picluster.cloud.attributes]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Converge k3s
  picluster.cloud.k3s_node:
    role: agent
    artifact: "{{ k3s_artifact }}"
    server_address: 192.168.63.11
    node_name: red2
    node_address: 192.168.63.12
    agent_token: "{{ k3s_agent_token }}"
    config: "{{ {'disable': ['traefik']} | to_json }}"
"""

RETURN = r"""
restarted:
  description: Whether the service was started or restarted.
  returned: success
  type: bool
server_data:
  description: Whether the node holds the data of a k3s cluster and serves it.
  returned: success, unless skipped
  type: bool
picluster_status:
  description: For the summary, if the node was skipped because there is no artifact.
  returned: when skipped
  type: list
  elements: dict
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.apply import K3s
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.checks import BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.existing import has_server_data
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import read_settings
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.verdict import same_status
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import check_bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "role": {"type": "str", "choices": ["server", "agent", "none"], "required": True},
    "artifact": {"type": "dict", "default": {}},
    "optional": {"type": "bool", "default": False},
    "server_address": {"type": "str", "default": ""},
    "node_name": {"type": "str", "default": ""},
    "node_address": {"type": "str", "default": ""},
    "token": {"type": "str", "default": "", "no_log": True},
    "agent_token": {"type": "str", "default": "", "no_log": True},
    "config": {"type": "json", "default": "", "no_log": True},
    "registries": {"type": "json", "default": "", "no_log": True},
    "containerd_template": {"type": "json", "default": "", "no_log": True},
    "limit_nofile": {"type": "int", "default": 1048576},
    "probe": {"type": "bool", "default": True},
    "images": {"type": "bool", "default": False},
    "recorded_server": {"type": "bool", "default": False},
    "give_up_cluster": {"type": "str", "default": ""},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Bring the node to its desired role."""
    role = options["role"]
    if role != "none" and not options["artifact"]:
        if not options["optional"]:
            raise UserError("artifact is empty: k3s was not fetched; run the whole site.yml, or set optional")
        return {"restarted": False, "picluster_status": same_status([options["node_name"]], "skipped", "no artifact")}
    if role != "none":
        check_bounds(BOUNDS, options)
    k3s = K3s(node)
    k3s.converge(read_settings(options), recorded_server=options["recorded_server"], give_up=options["give_up_cluster"])
    return {"restarted": k3s.restarted, "server_data": role == "server" and has_server_data(node)}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
