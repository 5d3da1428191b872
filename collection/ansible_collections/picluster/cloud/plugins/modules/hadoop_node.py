#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Install, configure and run Hadoop's daemons on a node, or remove them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hadoop_node
short_description: Install and run Hadoop's daemons on a node
description:
  - Manages accounts, folders, configuration, the NameNode's first format, and the systemd units of exactly the listed
    daemons.
  - A daemon is restarted if the inputs that it was started with differ from the desired ones. They are read from the
    running process, so the next run repairs one that was killed between writing and restarting.
  - A NameNode is formatted only if its folder is empty, in a scratch folder that becomes the image by one rename. Data
    is never removed, not even from a node that leaves.
  - An empty folder is not formatted if the cluster was formatted before. The evidence is a mark on the node
    (C(/var/lib/picluster/hadoop)), block pools of this node's DataNode, and C(seen.json) beside the inventory, in which
    the action plugin records the nodes that have an image.
  - Only what picluster wrote is changed or removed. A node with another installation of Hadoop is refused before
    anything is changed; O(daemons=[]) leaves that installation alone.
  - In check mode it also works on a node that has neither Java nor archive nor accounts yet.
extends_documentation_fragment: [picluster.cloud.attributes]
options:
  daemons:
    description: The daemons of this node. An empty list removes units, configuration and software; data stays.
    type: list
    elements: str
    choices: [namenode, secondarynamenode, datanode, resourcemanager, nodemanager, historyserver]
    required: true
  node:
    description: This node's name, by which the other nodes reach it.
    type: str
    required: true
  master:
    description: Name of the node with NameNode and ResourceManager.
    type: str
    default: ''
  workers:
    description: Names of all nodes that may join as workers.
    type: list
    elements: str
    default: []
  cluster_id:
    description: Id of the HDFS cluster, used by the first format.
    type: str
    default: ''
  formatted_on:
    description: Nodes on which an image of this cluster was seen; the action plugin sets it.
    type: list
    elements: str
    default: []
  give_up_data:
    description: This node's O(node), to format a NameNode whose image is lost. Every file in HDFS is lost with it.
    type: str
    default: ''
  http_secret:
    description: Key that signs HTTP cookies, the same on all nodes.
    type: str
    default: ''
  home:
    description: The folder in which the archive was unpacked.
    type: path
    default: ''
  release:
    description: Fingerprint of the archive; daemons restart when it changes.
    type: str
    default: ''
  java_home:
    description: The Java runtime.
    type: path
    default: /usr/lib/jvm/default-java
  replication:
    description: Copies of each block; 0 means 3, or the number of workers if that is less.
    type: int
    default: 0
  block_size:
    description: Size of a block in bytes.
    type: int
    default: 67108864
  disk_reserved:
    description: Bytes of each disk that HDFS leaves free.
    type: int
    default: 2147483648
  vcores:
    description: Cores that YARN may allocate on this node.
    type: int
    default: 4
  memory:
    description: Sizes in megabytes; a size that is not set keeps its default.
    type: dict
    suboptions:
      nodemanager: {description: What YARN may allocate on this node., type: int, default: 2048}
      minimum: {description: The smallest container., type: int, default: 256}
      am: {description: An application master of MapReduce., type: int, default: 512}
      map: {description: A map task., type: int, default: 512}
      reduce: {description: A reduce task., type: int, default: 768}
      sort: {description: The sort buffer of a map task., type: int, default: 100}
  heaps:
    description: Megabytes of each daemon's heap; a heap that is not set keeps its default.
    type: dict
    suboptions:
      namenode: {description: NameNode., type: int, default: 512}
      secondarynamenode: {description: SecondaryNameNode., type: int, default: 512}
      datanode: {description: DataNode., type: int, default: 256}
      resourcemanager: {description: ResourceManager., type: int, default: 384}
      nodemanager: {description: NodeManager., type: int, default: 256}
      historyserver: {description: JobHistoryServer., type: int, default: 192}
  users:
    description: Users with a home folder in HDFS.
    type: list
    elements: str
    default: []
  properties:
    description:
      - Additional properties by file (core-site, hdfs-site, yarn-site, mapred-site, capacity-scheduler).
      - A file with a property that is a secret by its name, such as V(fs.s3a.secret.key), is readable by root and the
        group hadoop only, and its value is neither logged nor shown. Users outside of that group then cannot run
        Hadoop's commands, all of which read the file.
    type: dict
    default: {}
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: A worker
  picluster.cloud.hadoop_node:
    daemons: [datanode, nodemanager]
    node: red2
    master: red1
    workers: [red2, red3]
    cluster_id: CID-2f1c
    http_secret: "{{ secret }}"
    home: /opt/hadoop-3.5.0
"""

RETURN = r"""
hdfs:
  description: Cluster id of the NameNode's image on this node; empty if there is none. Also when the module fails.
  returned: always
  type: str
"""

import inspect
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import hdfs_dirs
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.apply import Hadoop
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.checks import BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import DAEMONS, make_plan
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import (
    DEFAULT_HEAPS,
    DEFAULT_MEMORY,
    check_settings,
    hide,
    read_settings,
    secrets_of,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import check_bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node


def _sizes(defaults: Mapping[str, int]) -> dict[str, Any]:
    options = {name: {"type": "int", "default": value} for name, value in defaults.items()}
    return {"type": "dict", "apply_defaults": True, "options": options}


OPTIONS: dict[str, dict[str, Any]] = {
    "daemons": {"type": "list", "elements": "str", "choices": list(DAEMONS), "required": True},
    "node": {"type": "str", "required": True},
    "master": {"type": "str", "default": ""},
    "workers": {"type": "list", "elements": "str", "default": []},
    "cluster_id": {"type": "str", "default": ""},
    "formatted_on": {"type": "list", "elements": "str", "default": []},
    "give_up_data": {"type": "str", "default": ""},
    "http_secret": {"type": "str", "default": "", "no_log": True},
    "home": {"type": "path", "default": ""},
    "release": {"type": "str", "default": ""},
    "java_home": {"type": "path", "default": "/usr/lib/jvm/default-java"},
    "replication": {"type": "int", "default": 0},
    "block_size": {"type": "int", "default": 64 << 20},
    "disk_reserved": {"type": "int", "default": 2 << 30},
    "vcores": {"type": "int", "default": 4},
    "memory": _sizes(DEFAULT_MEMORY),
    "heaps": _sizes(DEFAULT_HEAPS),
    "users": {"type": "list", "elements": "str", "default": []},
    "properties": {"type": "dict", "default": {}, "no_log": True},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Bring the node to its daemons, or remove Hadoop from it."""
    secret, properties = options["http_secret"], options["properties"]
    # The answer shows the options: without the properties, until it is known which of them are secrets.
    options["properties"] = {}
    node.hide([secret], only=True)
    settings = read_settings({**options, "properties": properties})
    options["properties"] = hide(settings.properties)
    node.hide(secrets_of(settings.properties))
    if not settings.daemons:
        Hadoop(node).remove()
        return {"hdfs": ""}
    check_bounds(BOUNDS, options)
    check_settings(settings)
    plan = make_plan(settings, secret, inspect.getsource(hdfs_dirs))
    failed, hadoop = {}, Hadoop(node)
    try:
        hadoop.converge(plan, settings)
    except UserError as error:
        failed = {"failed": True, "msg": str(error)}  # with the id of an image that was formatted before the failure
    return {"hdfs": hadoop.image.cluster() if "namenode" in settings.daemons else "", **failed}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS, required_by={"master": ["workers", "home", "cluster_id", "http_secret"]})


if __name__ == "__main__":
    main()
