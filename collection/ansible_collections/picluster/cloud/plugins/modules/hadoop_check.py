#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Verify HDFS and YARN end to end."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hadoop_check
short_description: Verify HDFS and YARN end to end
description:
  - Runs on the master. Waits until HDFS has left safe mode and all expected workers take part, writes a text to HDFS as
    an ordinary user, counts its words in YARN, reads text and counts back and compares both with what was sent and with
    an independent count. Removes what it wrote, and kills its job if that has not ended in time.
  - The job is WordCount from MapReduce's own TokenCounterMapper and IntSumReducer. The jar with the example of that
    name is in Apache's archive, but not on Maven Central.
  - A later check kills the jobs of a check that was killed.
  - Never reports a change.
author: [The picluster authors (!UNKNOWN)]
extends_documentation_fragment: [picluster.cloud.attributes.query]
attributes:
  check_mode:
    support: partial
    details: Skipped, because it writes to HDFS for a while.
options:
  master:
    description: Name of the node with NameNode and ResourceManager.
    type: str
    required: true
  expected_workers:
    description: Names of the workers that must take part.
    type: list
    elements: str
    required: true
  text:
    description: Folder on this node whose files are counted.
    type: path
    default: /usr/share/common-licenses
  user:
    description: The ordinary user who runs the job; must have a home folder in HDFS.
    type: str
    required: true
  timeout:
    description: Seconds to wait for the cluster, and again for the job.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Verify HDFS and YARN
  picluster.cloud.hadoop_check:
    master: red1
    expected_workers: [red2, red3]
    user: pi
"""

RETURN = r"""
picluster_status:
  description: For each node and layer (hdfs, yarn) its state and a detail.
  returned: always
  type: list
  elements: dict
picluster_answer:
  description: The job's answer in one line.
  returned: success
  type: str
  sample: MapReduce counted 12,345 words in 18 files; the independent count agrees
seconds:
  description: How long waiting, writing, the job and reading back took.
  returned: success
  type: dict
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.check import HadoopCheck
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.checks import BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "master": {"type": "str", "required": True},
    "expected_workers": {"type": "list", "elements": "str", "required": True},
    "text": {"type": "path", "default": "/usr/share/common-licenses"},
    "user": {"type": "str", "required": True},
    "timeout": {"type": "int", "default": 300},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Verify the cluster."""
    if node.check_mode:
        return {"skipped": True, "msg": "hadoop_check is skipped in check mode, as it runs a job"}
    BOUNDS["check_timeout"].check("timeout", options["timeout"])
    if not options["expected_workers"]:
        raise UserError("expected_workers is empty; list the workers that must take part")
    return HadoopCheck(node, options).run(Path(options["text"]))


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
