#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Put a verified release file, or the tree inside it, on the node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: artifact
short_description: Put a verified release file, or the tree inside it, on the node
description:
  - The node is queried first; the file is transferred only if something differs. It is verified on the node before use.
  - A tree appears by one rename and is removed by one, so no program ever sees a half-unpacked one.
  - What a killed run left behind (transferred archives, half-unpacked trees) is removed by the next.
version_added: 0.1.0
options:
  artifact:
    description: One artifact as returned by M(picluster.cloud.artifacts), with V(path), V(sha256) and V(version).
    type: dict
    required: true
  dest:
    description: Absolute path of the file, or of the tree's root.
    type: path
    required: true
  kind:
    description: V(file) copies the file; V(tree) unpacks a tar archive without its top directory.
    type: str
    choices: [file, tree]
    default: file
  mode:
    description: Mode of the file.
    type: str
    default: '0755'
  exclude:
    description: Shell patterns of paths inside the tree (without the top directory) that are left out.
    type: list
    elements: str
    default: []
  incoming:
    description: The transferred file, set by the action plugin.
    type: path
extends_documentation_fragment: [picluster.cloud.attributes]
attributes:
  check_mode:
    description: Reports what would change; the file need not be on the controller.
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Install the k3s binary
  picluster.cloud.artifact:
    artifact: "{{ k3s_artifact }}"
    dest: /usr/local/bin/k3s-v1.36.4+k3s1

- name: Unpack Hadoop
  picluster.cloud.artifact:
    artifact: "{{ hadoop_artifact }}"
    dest: /opt/hadoop-3.4.3
    kind: tree
    exclude: [share/doc]
"""

RETURN = r"""
dest:
  description: Where it is.
  returned: success
  type: str
version:
  description: The version that is there.
  returned: success
  type: str
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.apply import (
    AS_DESIRED,
    Placement,
    read_target,
    sweep,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "artifact": {"type": "dict", "required": True},
    "dest": {"type": "path", "required": True},
    "kind": {"type": "str", "choices": ["file", "tree"], "default": "file"},
    "mode": {"type": "str", "default": "0755"},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "incoming": {"type": "path"},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Install the artifact, or request its transfer from the action plugin."""
    target = read_target(options)
    if not target.sha256 and not node.check_mode:
        raise UserError("artifact.sha256 is empty; pass on what picluster.cloud.artifacts returned")
    version = str(options["artifact"].get("version", ""))
    answer: dict[str, Any] = {"dest": target.dest, "version": version}
    placement = Placement(node, target)
    placement.repair()
    state = placement.state()
    if state == AS_DESIRED:
        return answer
    node.note(target.dest, state, f"{version} sha256 {target.sha256 or 'not known yet'}")
    if node.check_mode:
        return answer
    if state.startswith("mode "):
        placement.set_mode()
    elif options["incoming"]:
        sweep(Path(options["incoming"]), time.time())
        placement.install(Path(options["incoming"]))
    else:
        answer["transfer"] = True
    return answer


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
