#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Apply a Raspberry Pi's own settings: kernel flags, memory, swap, logs, watchdog."""

from __future__ import annotations

DOCUMENTATION = r"""
module: raspberry
short_description: Apply a Raspberry Pi's own settings
description:
  - Enables the kernel's memory cgroup, which Raspberry Pi's kernels leave off and Kubernetes and Docker's limits need,
    by flags in C(cmdline.txt), and only where it is off. Reports whether the node is to be restarted for that, never
    twice for one change. C(cmdline.txt.picluster-before) keeps the former line.
  - Limits the memory of the GPU in C(config.txt), moves the swap off the card, limits the journal and has systemd feed
    the board's watchdog.
  - Changes nothing on other hardware.
  - Boot files are replaced together; if one does not fit onto the partition, none is changed.
  - Records in C(/var/lib/picluster/raspberry) what it did, to undo it when an option changes.
version_added: 0.1.0
options:
  cgroup_memory:
    description: Whether the kernel's memory cgroup is enabled. V(false) removes the flags that this module added.
    type: bool
    default: true
  gpu_memory:
    description:
      - Memory of the GPU in MiB, 16 to 944, from the next boot on; if left out, the image's. On a Pi 5, which ignores
        it, nothing is written.
      - V(16) is ignored, with a warning, where the partition lacks the firmware that the board loads for it.
    type: int
  swap:
    description:
      - V(zram) compresses in memory, V(none) disables swap, V(image) is what the image has.
      - With the first two the swap file of C(dphys-swapfile) is deleted, and C(rpi-swap) is configured, which takes
        effect at the next boot.
    type: str
    choices: [zram, none, image]
    default: image
  journal_size:
    description:
      - Limit of the journal on the card in MiB, 8 to 4096; a quarter of it where the journal is kept in memory. If left
        out, the image's.
    type: int
  watchdog:
    description:
      - Seconds, 5 to 3600, after which the board restarts a system that hangs; V(0) for never. If left out, the
        image's. The hardware of most boards counts up to 15.
    type: int
  busy_units:
    description: Units, as patterns of systemctl. While one of them is active, this run does not restart the node.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [picluster.cloud.lock_timeout, picluster.cloud.attributes]
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Apply Raspberry Pi settings
  picluster.cloud.raspberry:
    gpu_memory: 16
    swap: zram
    journal_size: 64
    watchdog: 15
    busy_units: [docker.service, "k3s*.service"]
  register: board

- name: Restart the board for new kernel flags
  ansible.builtin.reboot:
  when: board.restart
"""

RETURN = r"""
board:
  description: The board's model; empty on other hardware.
  returned: success
  type: str
  sample: Raspberry Pi 4 Model B Rev 1.4
restart:
  description: Whether the node is to be restarted now. False while one of O(busy_units) is active.
  returned: success
  type: bool
restart_pending:
  description: Whether a change takes effect at the next boot; C(/run/reboot-required) exists then, too.
  returned: success
  type: bool
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import LOCK_TIMEOUT
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.apply import Board

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "cgroup_memory": {"type": "bool", "default": True},
    "gpu_memory": {"type": "int"},
    "swap": {"type": "str", "choices": ["zram", "none", "image"], "default": "image"},
    "journal_size": {"type": "int"},
    "watchdog": {"type": "int"},
    "busy_units": {"type": "list", "elements": "str", "default": []},
    "lock_timeout": LOCK_TIMEOUT,
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Apply the settings if the node is a Raspberry Pi."""
    board = Board(node)
    if board.model:
        board.converge(options)
    return {"board": board.model, "restart": board.restart, "restart_pending": board.record.pending}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
