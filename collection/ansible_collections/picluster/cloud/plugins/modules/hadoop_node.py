#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Module hadoop_node: converge everything of Hadoop on one node in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hadoop_node
short_description: Converge everything of Hadoop on one node in one call
description:
  - Accounts, folders, configuration, the NameNode's first format, and systemd units of exactly the daemons wanted.
  - A daemon is restarted if what it was started with differs from what is wanted. That is read from the running
    process, so a run that was killed between writing and restarting is mended by the next.
  - A NameNode is formatted only where its folder is empty, in a scratch folder that becomes the image by one rename.
    Data is never removed, not even from a node that leaves.
  - An empty folder is not formatted where the cluster was formatted before. The evidence is a mark on the node
    (C(/var/lib/picluster/hadoop)), block pools of this node's DataNode, and C(seen.json) beside the inventory, in which
    the action plugin records the nodes that have an image.
  - Only what picluster wrote is changed or removed. A node with a Hadoop of somebody else is refused before anything is
    changed; on a node that shall have none it stays.
author: [The picluster authors]
attributes:
  check_mode:
    support: full
    description: Works on a node without Java, archive or accounts.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  daemons:
    description: The daemons of this node. Empty means that the node has no Hadoop; units and configuration are removed.
    type: list
    elements: str
    choices: [namenode, secondarynamenode, datanode, resourcemanager, nodemanager, historyserver]
    required: true
  node:
    description: This node's name, by which the others reach it.
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
    description: Nodes on which an image of this cluster was seen. Set by the action plugin.
    type: list
    elements: str
    default: []
  give_up_data:
    description: This node's O(node), to format a NameNode anew whose image is lost. Every file in HDFS is lost with it.
    type: str
    default: ''
  http_secret:
    description: Key that signs HTTP cookies, the same on all nodes.
    type: str
    default: ''
  home:
    description: Where the archive was unpacked.
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
    description: Cores that YARN may hand out on this node.
    type: int
    default: 4
  memory:
    description: Megabytes of NodeManager, smallest container, application master, map task, reduce task, sort buffer.
    type: dict
    default: {}
    suboptions:
      nodemanager: {description: What YARN may hand out on this node., type: int, default: 2048}
      minimum: {description: The smallest container., type: int, default: 256}
      am: {description: An application master of MapReduce., type: int, default: 512}
      map: {description: A map task., type: int, default: 512}
      reduce: {description: A reduce task., type: int, default: 768}
      sort: {description: The sort buffer of a map task., type: int, default: 100}
  heaps:
    description: Megabytes of heap of each daemon.
    type: dict
    default: {}
    suboptions:
      namenode: {description: NameNode., type: int, default: 512}
      secondarynamenode: {description: SecondaryNameNode., type: int, default: 512}
      datanode: {description: DataNode., type: int, default: 256}
      resourcemanager: {description: ResourceManager., type: int, default: 384}
      nodemanager: {description: NodeManager., type: int, default: 256}
      historyserver: {description: JobHistoryServer., type: int, default: 192}
  users:
    description: Users who get a folder of their own in HDFS.
    type: list
    elements: str
    default: []
  properties:
    description:
      - Properties of one's own by file (core-site, hdfs-site, yarn-site, mapred-site, capacity-scheduler).
      - A file with a property that is a secret by its name (as V(fs.s3a.secret.key)) is for root and the group hadoop
        only, and its value is neither logged nor shown. Users outside of that group then cannot read the file, which
        every command of Hadoop does.
    type: dict
    default: {}
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
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [wrote /etc/hadoop/core-site.xml, restarted hadoop-datanode.service]
hdfs:
  description: Cluster id of the NameNode's image on this node; empty where there is none.
  returned: always
  type: str
warnings:
  description: What was found and left alone.
  returned: when there is something
  type: list
  elements: str
"""

import inspect
import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import hdfs_dirs
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.apply import Node, NodeError
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import ConfigError, Memory, Settings, check
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import DAEMONS, FormatRefusedError, make_plan
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.secrets import hide, secrets_of
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import card_trouble

DEFAULT_MEMORY = {"nodemanager": 2048, "minimum": 256, "am": 512, "map": 512, "reduce": 768, "sort": 100}
DEFAULT_HEAPS = {
    "namenode": 512,
    "secondarynamenode": 512,
    "datanode": 256,
    "resourcemanager": 384,
    "nodemanager": 256,
    "historyserver": 192,
}


def text_of(value: object) -> str:
    """A property's value as Hadoop writes it: YAML's true is Hadoop's true, not Python's True."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_settings(params: dict[str, Any]) -> Settings:
    """Turns the module's options into settings.

    Raises:
        ConfigError: a value is wrong.
    """
    properties = {}
    for site, values in params["properties"].items():
        if not isinstance(values, dict):
            # Without the value: it may hold a secret.
            raise ConfigError(f"properties.{site} is not a mapping of names to values")
        properties[site] = {str(name): text_of(value) for name, value in values.items()}
    return Settings(
        node=params["node"],
        master=params["master"],
        workers=tuple(params["workers"]),
        daemons=tuple(params["daemons"]),
        home=params["home"],
        release=params["release"],
        java_home=params["java_home"],
        replication=params["replication"],
        block_size=params["block_size"],
        disk_reserved=params["disk_reserved"],
        vcores=params["vcores"],
        memory=Memory(**params["memory"]),
        heaps=params["heaps"],
        users=tuple(params["users"]),
        properties=properties,
    )


def show_harmless(module: AnsibleModule, properties: dict[str, dict[str, str]]) -> None:
    """Lets the output show all but secrets.

    no_log keeps the option out of the node's log, but also masks each of its values, be it "1", wherever it occurs in
    the output. So only secrets are masked, and the option itself is shown without them.
    """
    module.no_log_values.clear()
    module.no_log_values.update((secrets_of(properties) | {module.params["http_secret"]}) - {""})
    module.params["properties"] = hide(properties)


def check_names(settings: Settings) -> None:
    """Refuses a hosts file with which the daemons would bind or advertise loopback.

    Raises:
        NodeError: with the name and what it resolves to.
    """
    for name in dict.fromkeys((settings.node, settings.master)):
        try:
            address = socket.gethostbyname(name)
        except OSError as error:
            raise NodeError(f"{name} does not resolve on this node; /etc/hosts must name every node") from error
        if address.startswith("127."):
            raise NodeError(
                f"{name} resolves to {address} on this node, so Hadoop would be heard by itself only; "
                "/etc/hosts must give its real address"
            )


def main() -> None:
    """Runs the module."""
    integers = {name: {"type": "int", "default": value} for name, value in DEFAULT_MEMORY.items()}
    heaps = {name: {"type": "int", "default": value} for name, value in DEFAULT_HEAPS.items()}
    module = AnsibleModule(
        argument_spec={
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
            "memory": {"type": "dict", "apply_defaults": True, "options": integers},
            "heaps": {"type": "dict", "apply_defaults": True, "options": heaps},
            "users": {"type": "list", "elements": "str", "default": []},
            "properties": {"type": "dict", "default": {}, "no_log": True},
        },
        required_by={"master": ["workers", "home", "cluster_id", "http_secret"]},
        supports_check_mode=True,
    )
    params = dict(module.params)
    show_harmless(module, {})  # none, until it is known what they are
    node = Node(module)
    try:
        settings = read_settings(params)
        show_harmless(module, settings.properties)
        script = inspect.getsource(hdfs_dirs)
        if settings.daemons:
            check(settings)
            if not module.check_mode:  # the roles before this one write the hosts file
                check_names(settings)
        plan = make_plan(settings, params["http_secret"], script)
        if plan.units:
            node.converge(
                plan,
                settings,
                params["cluster_id"],
                formatted_on=params["formatted_on"],
                give_up_data=params["give_up_data"],
            )
        else:
            node.remove()
    except (ConfigError, FormatRefusedError, NodeError) as error:
        module.fail_json(msg=f"{str(error).rstrip('.')}.", actions=node.actions, hdfs=node.hdfs)
    except OSError as error:
        module.fail_json(msg=f"{card_trouble(error)}.", actions=node.actions, hdfs=node.hdfs)
    module.exit_json(changed=bool(node.actions), actions=node.actions, diff=node.diffs, hdfs=node.hdfs)


if __name__ == "__main__":
    main()
