# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The content of every file in /etc/hadoop, computed from a node's settings. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import HadoopSettings

CONF = "/etc/hadoop"
LINK = "/opt/hadoop"
DATA = "/var/lib/hadoop"
LOGS = "/var/log/hadoop"
NAME_DIR = f"{DATA}/hdfs/name"
WORKERS = f"{CONF}/workers"
SECRET = f"{CONF}/http-secret"
ADMINS = "hadoop-admins"

# Read by clients at the time of use; a daemon that runs need not be restarted for them. Replication changes with the
# number of workers: a worker that joins must not restart the NameNode and every DataNode.
CLIENT_SIDE = frozenset({"dfs.replication", "dfs.blocksize"})

GC = "-XX:+UseSerialGC"  # the smallest collector; heaps here are below 1 GB


def heap_of(container: int) -> int:
    """Return the heap of a Java process in a container: 100 to 120 MB of a small one are not heap (measured)."""
    return container * 7 // 10


def sites(s: HadoopSettings) -> dict[str, dict[str, str]]:
    """Return all properties by file; the user's own take precedence.

    Addresses are names, which the hosts file of every node maps to the node's real address.
    """
    memory, mapred_home = s.memory, f"HADOOP_MAPRED_HOME={LINK}"
    ours = {
        "core-site": {
            "fs.defaultFS": f"hdfs://{s.master}:8020",
            # Only scratch: every folder that must last is set elsewhere. The default is in /tmp, often a tmpfs.
            "hadoop.tmp.dir": "/var/tmp/hadoop-${user.name}",  # noqa: S108 - a name for each user, nothing trusts it
            "hadoop.http.authentication.signature.secret.file": SECRET,
        },
        "hdfs-site": {
            "dfs.namenode.rpc-address": f"{s.master}:8020",
            "dfs.namenode.http-address": f"{s.master}:9870",
            "dfs.namenode.secondary.http-address": f"{s.master}:9868",
            "dfs.namenode.name.dir": f"file://{NAME_DIR}",
            "dfs.namenode.checkpoint.dir": f"file://{DATA}/hdfs/checkpoint",
            "dfs.datanode.data.dir": f"file://{DATA}/hdfs/data",
            "dfs.datanode.hostname": s.node,
            "dfs.datanode.address": f"{s.node}:9866",
            "dfs.datanode.ipc.address": f"{s.node}:9867",
            "dfs.datanode.http.address": f"{s.node}:9864",
            # Leaves room for the operating system on the card when HDFS is full; the default is 0.
            "dfs.datanode.du.reserved": str(s.disk_reserved),
            "dfs.replication": str(s.replication or min(3, len(s.workers))),
            "dfs.blocksize": str(s.block_size),
            # The hosts that may join: the inventory's workers.
            "dfs.hosts": WORKERS,
            # dfs.hosts is the check. This one remembers, while a connection lasts, that an address had no name: a
            # worker that was up before it stood in the master's hosts file would be rejected for good.
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
            # A format refuses a folder with data, even with -force (NameNode.java, HDFS-14883).
            "dfs.reformat.disabled": "true",
            "dfs.permissions.superusergroup": ADMINS,
            # A DataNode that was silent for 30 s gets no new blocks; by default it gets them for 10.5 minutes, and
            # writes fail.
            "dfs.namenode.avoid.read.stale.datanode": "true",
            "dfs.namenode.avoid.write.stale.datanode": "true",
            "dfs.namenode.write.stale.datanode.ratio": "1.0",
            # The default of 30 s is for thousands of DataNodes.
            "dfs.namenode.safemode.extension": "5000",
        },
        "yarn-site": {
            "yarn.resourcemanager.hostname": s.master,
            "yarn.resourcemanager.nodes.include-path": WORKERS,
            "yarn.nodemanager.hostname": s.node,
            "yarn.nodemanager.address": f"{s.node}:8041",
            "yarn.nodemanager.local-dirs": f"{DATA}/yarn/local",
            "yarn.nodemanager.log-dirs": f"{LOGS}/containers",
            "yarn.nodemanager.aux-services": "mapreduce_shuffle",
            # Without these two every board offers 8192 MB and 8 cores.
            "yarn.nodemanager.resource.memory-mb": str(memory["nodemanager"]),
            "yarn.nodemanager.resource.cpu-vcores": str(s.vcores),
            "yarn.scheduler.minimum-allocation-mb": str(memory["minimum"]),
            "yarn.scheduler.maximum-allocation-mb": str(memory["nodemanager"]),
            "yarn.scheduler.maximum-allocation-vcores": str(s.vcores),
            # With the default a job waits 10 minutes for a board without power.
            "yarn.nm.liveness-monitor.expiry-interval-ms": "120000",
            # The virtual memory of a 64-bit JVM is not what it uses.
            "yarn.nodemanager.vmem-check-enabled": "false",
            "yarn.nodemanager.env-whitelist": (
                "JAVA_HOME,HADOOP_COMMON_HOME,HADOOP_HDFS_HOME,HADOOP_CONF_DIR,CLASSPATH_PREPEND_DISTCACHE,"
                "HADOOP_YARN_HOME,HADOOP_MAPRED_HOME,HADOOP_HOME,PATH,LANG,TZ"
            ),
            # The default of 90 % turns every node with a full card UNHEALTHY before HDFS' own reserve is reached.
            "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "98.0",
            "yarn.nodemanager.disk-health-checker.min-free-space-per-disk-mb": "256",
            "yarn.log-aggregation-enable": "true",
            "yarn.log-aggregation.retain-seconds": "604800",
            "yarn.nodemanager.remote-app-log-dir": "/app-logs",
            "yarn.log.server.url": f"http://{s.master}:19888/jobhistory/logs",
            # Otherwise any host that reaches port 8088 can run code on every node without a login.
            "yarn.webapp.enable-rest-app-submissions": "false",
            "yarn.acl.enable": "true",
            "yarn.admin.acl": f"yarn,hdfs {ADMINS}",
        },
        "mapred-site": {
            "mapreduce.framework.name": "yarn",
            "mapreduce.jobhistory.address": f"{s.master}:10020",
            "mapreduce.jobhistory.admin.address": f"{s.master}:10033",
            "mapreduce.jobhistory.webapp.address": f"{s.master}:19888",
            "mapreduce.jobhistory.done-dir": "/mr-history/done",
            "mapreduce.jobhistory.intermediate-done-dir": "/mr-history/tmp",
            "yarn.app.mapreduce.am.staging-dir": "/user",
            "yarn.app.mapreduce.am.env": mapred_home,
            "mapreduce.map.env": mapred_home,
            "mapreduce.reduce.env": mapred_home,
            "yarn.app.mapreduce.am.resource.mb": str(memory["am"]),
            "yarn.app.mapreduce.am.command-opts": f"-Xmx{heap_of(memory['am'])}m {GC}",
            "mapreduce.map.memory.mb": str(memory["map"]),
            "mapreduce.map.java.opts": f"-Xmx{heap_of(memory['map'])}m {GC}",
            "mapreduce.reduce.memory.mb": str(memory["reduce"]),
            "mapreduce.reduce.java.opts": f"-Xmx{heap_of(memory['reduce'])}m {GC}",
            "mapreduce.task.io.sort.mb": str(memory["sort"]),
            # A slow board is not stuck; a second copy of its task would take the other boards' time.
            "mapreduce.map.speculative": "false",
            "mapreduce.reduce.speculative": "false",
            # Java 17 and later in tasks (MAPREDUCE-7468); false by default in 3.5.0.
            "mapreduce.jvm.add-opens-as-default": "true",
        },
        # One queue; without any the ResourceManager does not start.
        "capacity-scheduler": {
            # Small NodeManagers: the default of 0.1 would keep a second job waiting.
            "yarn.scheduler.capacity.maximum-am-resource-percent": "0.5",
            "yarn.scheduler.capacity.root.queues": "default",
            "yarn.scheduler.capacity.root.default.capacity": "100",
            "yarn.scheduler.capacity.root.default.maximum-capacity": "100",
            "yarn.scheduler.capacity.root.default.state": "RUNNING",
        },
    }
    return {site: {**values, **s.properties.get(site, {})} for site, values in ours.items()}


def render_xml(properties: dict[str, str]) -> str:
    """Return properties in Hadoop's format, sorted, so that the same properties are the same bytes."""
    root = ET.Element("configuration")
    for name in sorted(properties):
        node = ET.SubElement(root, "property")
        ET.SubElement(node, "name").text = name
        ET.SubElement(node, "value").text = properties[name]
    ET.indent(root)
    return f'<?xml version="1.0"?>\n<!-- Managed by picluster. -->\n{ET.tostring(root, encoding="unicode")}\n'


# log4j.properties: the journal stores the daemons' logs and limits their size. The appender RFA is for users who want
# files. With the release's 256 MB x 20 each daemon would write up to 5 GB to the card.
LOG4J = """# Managed by picluster.
hadoop.root.logger=INFO,console
hadoop.log.dir=.
hadoop.log.file=hadoop.log
hadoop.security.logger=INFO,NullAppender
hdfs.audit.logger=INFO,NullAppender
log4j.rootLogger=${hadoop.root.logger}
log4j.threshold=ALL
log4j.appender.NullAppender=org.apache.log4j.varia.NullAppender
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
log4j.appender.RFA=org.apache.log4j.RollingFileAppender
log4j.appender.RFA.File=${hadoop.log.dir}/${hadoop.log.file}
log4j.appender.RFA.MaxFileSize=16MB
log4j.appender.RFA.MaxBackupIndex=5
log4j.appender.RFA.layout=org.apache.log4j.PatternLayout
log4j.appender.RFA.layout.ConversionPattern=%d{ISO8601} %p %c: %m%n
# One line for each web request, polling included, would wear out the card.
log4j.logger.http.requests=WARN
log4j.category.SecurityLogger=${hadoop.security.logger}
log4j.additivity.SecurityLogger=false
log4j.logger.org.apache.hadoop.hdfs.server.namenode.FSNamesystem.audit=${hdfs.audit.logger}
log4j.additivity.org.apache.hadoop.hdfs.server.namenode.FSNamesystem.audit=false
# Not every board has native libraries; Java's own are used, without a warning.
log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR
"""


def hadoop_env(settings: HadoopSettings) -> str:
    """Return hadoop-env.sh; the daemons' heaps are in their units, so that a new heap restarts one daemon."""
    return f"""# Managed by picluster.
export JAVA_HOME={settings.java_home}
# A command lives for seconds: compile little, start fast.
export HADOOP_CLIENT_OPTS="-Xmx256m {GC} -XX:TieredStopAtLevel=1 ${{HADOOP_CLIENT_OPTS:-}}"
"""


def wrapper(tool: str) -> str:
    """Return a command for the user's path, which finds the configuration by itself."""
    return f"""#!/bin/sh
# Managed by picluster.
export HADOOP_CONF_DIR="${{HADOOP_CONF_DIR:-{CONF}}}"
exec {LINK}/bin/{tool} "$@"
"""


def hdfs_dirs(settings: HadoopSettings) -> dict[str, object]:
    """Return the input of hdfs_dirs.py: the folders in HDFS that jobs, the history server and the users need."""
    system = [
        ("/tmp", "hdfs", "hadoop", "1777"),  # noqa: S108 - a folder in HDFS, shared as everywhere
        ("/user", "hdfs", "hadoop", "0755"),
        ("/app-logs", "yarn", "hadoop", "1777"),
        ("/mr-history", "mapred", "hadoop", "0755"),
        ("/mr-history/tmp", "mapred", "hadoop", "1777"),
        ("/mr-history/done", "mapred", "hadoop", "0770"),
    ]
    homes = [(f"/user/{user}", user, user, "0700") for user in settings.users]
    return {
        "namenode": f"{settings.master}:9870",
        "superuser": "hdfs",
        "dirs": [{"path": p, "owner": o, "group": g, "mode": m} for p, o, g, m in system + homes],
    }
