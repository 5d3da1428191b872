#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Module k3s_node: make a node a k3s server, a k3s agent, or neither."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_node
short_description: Make a node a k3s server, a k3s agent, or neither
description:
  - Converges all of k3s on a node in one call, once its binary is at C(/usr/local/bin/k3s-<version>) - links,
    configuration, tokens, registries, the systemd unit, and the running service.
  - The service is started without waiting. Agents retry until their server answers, so all nodes may start at once.
  - It is restarted only if one of its inputs changed, also when a former run was killed before its restart.
  - V(none) ends pods and service and removes unit, configuration and binaries. Data in C(/var/lib/rancher) stays,
    and so does the node's password in C(/etc/rancher/node).
author: [The picluster authors]
options:
  role:
    description: What the node shall be.
    type: str
    choices: [server, agent, none]
    required: true
  artifact:
    description:
      - The binary as M(picluster.cloud.artifacts) returned it. For V(none) it is not looked at.
      - For a server or an agent an empty one is an error; with O(optional) the node is then left as it is.
    type: dict
    default: {}
  optional:
    description: Whether a server or an agent without O(artifact) is skipped, instead of failing.
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
      - Further keys of config.yaml, as a text of JSON; a list is appended to the role's own.
      - A text, because it can hold secrets. As a whole it is kept out of the node's log, while each value of a mapping
        would be masked for itself, everywhere in the answer, V(true) and V(/) too.
    type: json
    default: ''
  registries:
    description: Content of registries.yaml, as a text of JSON for the same reason.
    type: json
    default: ''
  containerd_template:
    description: Template of containerd's configuration, as a JSON text for the same reason.
    type: json
    default: ''
  limit_nofile:
    description: Open files that the service may have; lowered where the node's init may not give so many.
    type: int
    default: 1048576
  probe:
    description: Whether to keep a small image for the pod check, made of the node's busybox, among k3s's images.
    type: bool
    default: true
  images:
    description:
      - Whether C(k3s-airgap-images.tar.zst), put among k3s's images by the role, is wanted there. If not, it goes.
    type: bool
    default: false
  recorded_server:
    description: Whether server data was seen on this node before; the action plugin fills it in from the record.
    type: bool
    default: false
  give_up_cluster:
    description:
      - Name of the node whose cluster is given up. Without it a server's data is never left behind for another server,
        and a node that had the data, or was an agent, starts no new, empty cluster.
      - On the node of this name the data is moved aside, to C(/var/lib/rancher/k3s/server.given-up-<number>).
    type: str
    default: ''
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    description: Secrets are hidden.
  idempotent:
    support: full
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
  description: For the summary, when the node was skipped for want of an artifact.
  returned: when skipped
  type: list
  elements: dict
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.k3s import pods, probe
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.apply import Host
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.cluster import has_server_data, is_given_up, refusal
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import SettingsError, Wish, check
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text
from ansible_collections.picluster.cloud.plugins.module_utils.node.machine import cmdline_path, read_machine
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.rules import FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def skipped(name: str) -> dict[str, Any]:
    """Describe a node whose k3s could not be had."""
    return {
        "changed": False,
        "restarted": False,
        "picluster_status": [{"node": name, "layer": "k3s", "state": "skipped", "detail": "no artifact"}],
    }


def read_wish(params: dict[str, Any]) -> Wish:
    """Read the options; for role none only the role counts.

    Raises:
        SettingsError: With the setting that is wrong and what would be right.
    """
    if params["limit_nofile"] < 1:
        raise SettingsError(f"k3s_limit_nofile is {params['limit_nofile']}; wanted is a positive number")
    same = ("role", "server_address", "node_name", "node_address", "token", "agent_token")
    wish = Wish(
        version=str(params["artifact"].get("version", "")),
        containerd_template=_decoded("k3s_containerd_template", params["containerd_template"], ""),
        limit_nofile=params["limit_nofile"],
        config=_decoded("k3s_config", params["config"], {}),
        registries=_decoded("k3s_registries", params["registries"], {}),
        **{name: params[name] for name in same},
    )
    if wish.role != "none":
        check(wish)
    return wish


def _decoded(name: str, text: str, empty: T) -> T:
    """Read an option given as JSON; what it is wrongly is not shown, as it may be secret."""
    try:
        value = json.loads(text) if text else empty
    except ValueError:
        value = None
    if not isinstance(value, type(empty)):
        wanted = "a mapping" if isinstance(empty, dict) else "a text"
        raise SettingsError(f"{name} is not {wanted} in JSON, as the role k3s hands it over")
    return value


def converge(host: Host, wish: Wish, params: dict[str, Any], *, check_mode: bool, warn: Callable[[str], None]) -> None:
    """Bring the node to what is wanted.

    Args:
        host: The node.
        wish: What it shall be.
        params: The module's options.
        check_mode: Whether trouble that is to be mended before the real run is only told.
        warn: Tells it.

    Raises:
        SettingsError: When the node cannot run k3s; the text says what to change on it.
    """
    give_up = params["give_up_cluster"]
    if lost := refusal(host.root, wish, recorded=params["recorded_server"], give_up=give_up):
        raise SettingsError(lost)
    given_up = is_given_up(host.root, wish, give_up)
    _take_role(host, wish, params, check_mode=check_mode, warn=warn)
    # By now the server has ended.
    if given_up:
        host.set_server_data_aside()


def _take_role(
    host: Host, wish: Wish, params: dict[str, Any], *, check_mode: bool, warn: Callable[[str], None]
) -> None:
    machine = read_machine()
    if wish.role == "none":
        host.remove(pods_left=pods.leftovers, end_pods=pods.end)
        return
    if not machine.memory_cgroup:
        trouble = f"the kernel runs without the memory cgroup, which k3s needs: {_way_to_memory_cgroup(cmdline_path())}"
        if not check_mode:
            raise SettingsError(trouble)
        warn(trouble)
    image = probe.build() if params["probe"] else None
    host.install(wish, machine, str(params["artifact"].get("sha256", "")), image, images=params["images"])


def _way_to_memory_cgroup(path: str) -> str:
    """Return what to do about a kernel without memory cgroup, whose words are read from `path`."""
    flags, words = " ".join(FLAGS), (read_text(path) or "").split()
    if all(flag in words for flag in FLAGS):
        return f"'{flags}' wait in {path} for a restart; run playbooks/reboot.yml, then this again"
    return f"add '{flags}' to the line in {path} and restart the node"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
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
        },
        supports_check_mode=True,
    )
    params = module.params
    if params["role"] != "none" and not params["artifact"]:
        if not params["optional"]:
            module.fail_json(msg="k3s_artifact is empty: run the whole site.yml, which fetches it, or set k3s_optional")
        module.exit_json(**skipped(params["node_name"]))

    def run(*command: str) -> str:
        code, out, err = module.run_command(list(command))
        if code:
            module.fail_json(msg=f"'{' '.join(command)}' failed: {(err or out).strip()}")
        return str(out)

    host = Host(Path("/"), run, check_mode=module.check_mode)
    try:
        converge(host, read_wish(params), params, check_mode=module.check_mode, warn=module.warn)
    except SettingsError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"k3s could not be set up on {params['node_name'] or 'this node'}: {error}")
    holds = params["role"] == "server" and has_server_data(host.root)
    module.exit_json(changed=host.changed, restarted=host.restarted, diff=host.diff, server_data=holds)


if __name__ == "__main__":
    main()
