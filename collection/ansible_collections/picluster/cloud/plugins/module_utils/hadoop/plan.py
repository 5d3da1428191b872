# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The desired state of a Hadoop node: folders, files, units, and the inputs that each daemon was started with. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import config
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import CONF, DATA, LOGS
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import SITES, is_secret

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import HadoopSettings

GROUP = "hadoop"
UNITS = "/etc/systemd/system"
SCRIPT = "/usr/local/lib/picluster/hdfs_dirs.py"
DIRS_JSON = f"{CONF}/hdfs-dirs.json"
TOOLS = ("hadoop", "hdfs", "yarn", "mapred")
INPUTS = "PICLUSTER_INPUTS"


@dataclass(frozen=True)
class Daemon:
    """One of Hadoop's daemons.

    Attributes:
        user: Its account, which is also the name of the launcher in bin/ that starts it.
        sites: The configuration that it reads.
        dirs: Folders that it needs, with their modes.
        stop_seconds: Seconds that it may take to stop before it is killed.
    """

    name: str
    title: str
    user: str
    sites: tuple[str, ...]
    dirs: tuple[tuple[str, int], ...] = ()
    stop_seconds: int = 60

    @property
    def unit(self) -> str:
        """The name of its unit."""
        return f"hadoop-{self.name}.service"


_HDFS = ("core-site", "hdfs-site")
_YARN = (*_HDFS, "yarn-site")
DAEMONS = {
    daemon.name: daemon
    for daemon in (
        Daemon("namenode", "NameNode", "hdfs", _HDFS, ((config.NAME_DIR, 0o700),), stop_seconds=180),
        Daemon("secondarynamenode", "SecondaryNameNode", "hdfs", _HDFS, ((f"{DATA}/hdfs/checkpoint", 0o700),)),
        Daemon("datanode", "DataNode", "hdfs", _HDFS, ((f"{DATA}/hdfs/data", 0o700),)),
        Daemon("resourcemanager", "ResourceManager", "yarn", (*_YARN, "capacity-scheduler")),
        Daemon(
            "nodemanager", "NodeManager", "yarn", _YARN, ((f"{DATA}/yarn/local", 0o755), (f"{LOGS}/containers", 0o755))
        ),
        Daemon("historyserver", "JobHistoryServer", "mapred", (*_YARN, "mapred-site")),
    )
}
USERS = ("hdfs", "yarn", "mapred")
DIRS_UNIT = "hadoop-hdfs-dirs.service"
ALL_UNITS = (*(daemon.unit for daemon in DAEMONS.values()), DIRS_UNIT)
# The daemons that read the list of workers while they run, and the command that has them read it again.
READS_WORKERS = {
    "namenode": ("hdfs", "dfsadmin", "-refreshNodes"),
    "resourcemanager": ("yarn", "rmadmin", "-refreshNodes"),
}


@dataclass(frozen=True)
class HadoopFolder:
    """A folder of the node."""

    path: str
    owner: str
    group: str
    mode: int


@dataclass(frozen=True)
class HadoopFile:
    """A file with its whole content."""

    path: str
    content: str
    mode: int = 0o644
    group: str = "root"
    secret: bool = False


@dataclass(frozen=True)
class HadoopUnit:
    """A service that is enabled and runs.

    Attributes:
        inputs: Fingerprint of all that the process reads at its start; the process carries it in its environment.
    """

    name: str
    inputs: str
    daemon: str = ""


@dataclass(frozen=True)
class HadoopPlan:
    """The desired state of the whole node."""

    folders: list[HadoopFolder]
    files: list[HadoopFile]
    units: list[HadoopUnit]

    @property
    def surplus_units(self) -> tuple[str, ...]:
        """The units of Hadoop that must be absent."""
        desired = {unit.name for unit in self.units}
        return tuple(name for name in ALL_UNITS if name not in desired)


def _fingerprint(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def daemon_unit(daemon: Daemon, settings: HadoopSettings, inputs: str) -> str:
    """Return the unit of one daemon: in the foreground, no pid file, restarted until what it needs is there."""
    options = f"-Xmx{settings.heaps[daemon.name]}m {config.GC} -XX:+ExitOnOutOfMemoryError"
    return f"""# Managed by picluster.
[Unit]
Description=Apache Hadoop {daemon.title}
After=network.target
# A worker that is up before its master tries again for as long as it takes.
StartLimitIntervalSec=0

[Service]
Type=exec
User={daemon.user}
Group={GROUP}
Environment="{daemon.user.upper()}_{daemon.name.upper()}_OPTS={options}"
Environment=HADOOP_LOG_DIR={LOGS}/{daemon.user}
Environment=HADOOP_PID_DIR=/run/hadoop-{daemon.name}
# What this process was started with; a run compares it with the desired state.
Environment={INPUTS}={inputs}
RuntimeDirectory=hadoop-{daemon.name}
ExecStart={config.LINK}/bin/{daemon.user} --config {CONF} {daemon.name}
# A JVM that was told to stop ends with 128 + SIGTERM.
SuccessExitStatus=143
Restart=always
RestartSec=5
TimeoutStopSec={daemon.stop_seconds}
UMask=0027
NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=yes
ProtectSystem=strict
ReadWritePaths={DATA} {LOGS}
RestrictSUIDSGID=yes

[Install]
WantedBy=multi-user.target
"""


def dirs_unit(inputs: str) -> str:
    """Return the unit that creates HDFS' folders once the NameNode can; it ends at once where nothing is missing."""
    return f"""# Managed by picluster.
[Unit]
Description=Create the folders in HDFS
After=hadoop-namenode.service
StartLimitIntervalSec=0

[Service]
# Not oneshot: the boot must not wait for HDFS.
Type=exec
User=hdfs
Group={GROUP}
Environment={INPUTS}={inputs}
RuntimeDirectory=hadoop-hdfs-dirs
RuntimeDirectoryPreserve=yes
ExecStart=/usr/bin/python3 -I {SCRIPT} {DIRS_JSON}
RemainAfterExit=yes
Restart=on-failure
RestartSec=10
NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=yes
ProtectSystem=strict

[Install]
WantedBy=multi-user.target
"""


def make_plan(settings: HadoopSettings, secret: str, script: str) -> HadoopPlan:
    """Return the desired state of a node with daemons, from checked settings, http_secret and hdfs_dirs.py's text."""
    daemons = [DAEMONS[name] for name in DAEMONS if name in settings.daemons]
    files = []
    properties = config.sites(settings)
    for site, values in properties.items():
        # World-readable unless the user's own properties hold a secret.
        closed = any(is_secret(name) for name in settings.properties.get(site, {}))
        mode, group = (0o640, GROUP) if closed else (0o644, "root")
        files.append(HadoopFile(f"{CONF}/{site}.xml", config.render_xml(values), mode, group))
    files += [
        HadoopFile(f"{CONF}/log4j.properties", config.LOG4J),
        HadoopFile(f"{CONF}/hadoop-env.sh", config.hadoop_env(settings)),
        HadoopFile(config.WORKERS, "".join(f"{name}\n" for name in sorted(settings.workers))),
        HadoopFile(config.SECRET, f"{secret}\n", mode=0o640, group=GROUP, secret=True),
    ]
    files += [HadoopFile(f"/usr/local/bin/{tool}", config.wrapper(tool), mode=0o755) for tool in TOOLS]
    units = []
    for daemon in daemons:
        # All that it reads at its start: it restarts for that and for nothing else.
        read = {
            site: {name: value for name, value in values.items() if name not in config.CLIENT_SIDE}
            for site, values in properties.items()
            if site in daemon.sites
        }
        heap = settings.heaps[daemon.name]
        inputs = _fingerprint([read, settings.home, settings.release, settings.java_home, heap, config.LOG4J, secret])
        units.append(HadoopUnit(daemon.unit, inputs, daemon.name))
        files.append(HadoopFile(f"{UNITS}/{daemon.unit}", daemon_unit(daemon, settings, inputs)))
    if "namenode" in settings.daemons:
        dirs = json.dumps(config.hdfs_dirs(settings), indent=2) + "\n"
        inputs = _fingerprint([dirs, script])
        files += [
            HadoopFile(DIRS_JSON, dirs),
            HadoopFile(SCRIPT, script),
            HadoopFile(f"{UNITS}/{DIRS_UNIT}", dirs_unit(inputs)),
        ]
        units.append(HadoopUnit(DIRS_UNIT, inputs))
    folders = [HadoopFolder(CONF, "root", "root", 0o755)]  # parents first
    for parent in (DATA, LOGS):
        folders.append(HadoopFolder(parent, "root", GROUP, 0o755))
        folders += [HadoopFolder(f"{parent}/{user}", user, GROUP, 0o755) for user in USERS]
    folders += [HadoopFolder(path, daemon.user, GROUP, mode) for daemon in daemons for path, mode in daemon.dirs]
    return HadoopPlan(folders, files, units)


def software() -> tuple[str, ...]:
    """Return every file that the module may have written, for a node that has left: all but data."""
    conf = [f"{CONF}/{site}.xml" for site in SITES]
    conf += [f"{CONF}/log4j.properties", f"{CONF}/hadoop-env.sh", config.WORKERS, config.SECRET, DIRS_JSON]
    return (*conf, SCRIPT, *(f"/usr/local/bin/{tool}" for tool in TOOLS), *(f"{UNITS}/{name}" for name in ALL_UNITS))
