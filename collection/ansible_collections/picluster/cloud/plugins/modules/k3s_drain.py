#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Take a node's pods elsewhere before a restart, and let pods come back after it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_drain
short_description: Cordon and drain a Kubernetes node, or let it take pods again
description:
  - Runs on a k3s server, for any node of its cluster.
  - A node is annotated (C(picluster.cloud/cordoned-for)) before it is cordoned, so that a later run knows whose cordon
    it is, however the earlier one ended. A node that somebody else has cordoned stays cordoned.
  - Where the pods cannot be taken elsewhere in time, the cordon is taken back and the module fails.
version_added: 0.1.0
options:
  state:
    description:
      - V(drained) cordons the node and evicts its pods; those of DaemonSets stay, and what is in an emptyDir is lost.
      - V(back) lets pods come again, if it was us who kept them away.
      - V(asked) changes nothing and tells which nodes are cordoned by us.
    type: str
    choices: [drained, back, asked]
    required: true
  node:
    description: Name of the node in Kubernetes; needed for V(drained) and V(back).
    type: str
  timeout:
    description: Seconds until all pods must be gone.
    type: int
    default: 300
  force:
    description: Whether pods that no controller would start elsewhere are deleted; otherwise they stop the drain.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says what would be done.
  diff_mode:
    support: none
  idempotent:
    support: partial
    description: A drain evicts what has come to the node since the last one.
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Take its pods elsewhere
  picluster.cloud.k3s_drain:
    state: drained
    node: "{{ inventory_hostname }}"
  delegate_to: red1
  become: true
"""

RETURN = r"""
cordoned:
  description: The nodes that are cordoned by us, for O(state=asked).
  returned: success
  type: list
  elements: str
answered:
  description: Whether there is a k3s server here that answers.
  returned: success
  type: bool
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.kubectl import (
    ADMIN,
    ANNOTATION,
    PURPOSE,
    Kubectl,
    is_cordoned,
    is_ours,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.owner import our_unit

ROOT = Path("/")


class Drain:
    """Who may have pods, as the API of Kubernetes has it."""

    def __init__(self, kubectl: Kubectl, *, check_mode: bool) -> None:
        self._kubectl = kubectl
        self._check_mode = check_mode

    def cordoned(self) -> list[str]:
        """Return the nodes that are cordoned by us."""
        return sorted(item["metadata"]["name"] for item in self._kubectl.get("nodes")["items"] if is_ours(item))

    def drain(self, name: str, timeout: int, *, force: bool) -> bool:
        """Take a node's pods elsewhere.

        Raises:
            ValueError: they do not go; the node takes pods again, unless it took none before.
        """
        node = self._kubectl.get("node", name)
        theirs = is_cordoned(node) and not is_ours(node)
        if self._check_mode:
            return True
        if not theirs:
            self._kubectl("annotate", "node", name, f"{ANNOTATION}={PURPOSE}", "--overwrite")
        options = ["--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={timeout}s"]
        try:
            self._kubectl("drain", name, *options, *(["--force"] if force else []))
        except ValueError as error:
            now = "takes pods as little as before" if theirs else self._try_to_give_back(name)
            why = str(error).replace("use --force to override", "force, in the role k3s_drain_force, deletes them")
            raise ValueError(
                f"the pods of {name} cannot be taken elsewhere (within {timeout} s), so it is not to be restarted and "
                f"{now}: {why}"
            ) from error
        return True

    def back(self, name: str) -> bool:
        """Let a node have pods again if it was us who kept them away; tell whether it was."""
        if not is_ours(self._kubectl.get("node", name)):
            return False
        if not self._check_mode:
            self._give_back(name)
        return True

    def _try_to_give_back(self, name: str) -> str:
        """Let a node have pods again; return a word on how that went, as its own trouble is not the one to tell."""
        try:
            self._give_back(name)
        except ValueError:
            return "stays cordoned until the same command is run again"
        return "takes pods again"

    def _give_back(self, name: str) -> None:
        # In this order: a run that is killed in between leaves an annotation, which the next one takes for its own.
        self._kubectl("uncordon", name)
        self._kubectl("annotate", "node", name, f"{ANNOTATION}-")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["drained", "back", "asked"], "required": True},
            "node": {"type": "str"},
            "timeout": {"type": "int", "default": 300},
            "force": {"type": "bool", "default": False},
        },
        required_if=[("state", "drained", ["node"]), ("state", "back", ["node"])],
        supports_check_mode=True,
    )
    params = module.params
    drain = Drain(Kubectl(module.run_command, ADMIN), check_mode=module.check_mode)
    if params["state"] == "asked" and not our_unit(ROOT, "k3s"):
        module.exit_json(changed=False, answered=False, cordoned=[])
    try:
        if params["state"] == "asked":
            module.exit_json(changed=False, answered=True, cordoned=drain.cordoned())
        if params["state"] == "drained":
            changed = drain.drain(params["node"], params["timeout"], force=params["force"])
        else:
            changed = drain.back(params["node"])
    except ValueError as error:
        if params["state"] != "asked":
            module.fail_json(msg=str(error))
        module.warn(f"Kubernetes does not answer, so nobody knows whether an earlier run left a node cordoned: {error}")
        module.exit_json(changed=False, answered=False, cordoned=[])
    module.exit_json(changed=changed, answered=True, cordoned=[])


if __name__ == "__main__":
    main()
