# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What a Hadoop node is made of: accounts, folders, files, units, and what each daemon was started with.

Pure: nothing is touched.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import (
    CLIENT_SIDE,
    CONF,
    DATA,
    GC,
    LINK,
    LOGS,
    NAME_DIR,
    SECRET,
    SITES,
    WORKERS,
    Settings,
    hadoop_env,
    hdfs_dirs,
    log4j,
    render_xml,
    sites,
    wrapper,
)
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.secrets import is_secret

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
        tool: the launcher in bin/ that starts it.
        user: its account.
        sites: the configuration that it reads.
        dirs: folders that it needs, with owner's mode.
        stop_seconds: how long it may take to stop before it is killed.
    """

    name: str
    title: str
    tool: str
    user: str
    sites: tuple[str, ...]
    dirs: tuple[tuple[str, int], ...] = ()
    stop_seconds: int = 60

    @property
    def unit(self) -> str:
        """The unit's name."""
        return f"hadoop-{self.name}.service"


DAEMONS = {
    daemon.name: daemon
    for daemon in (
        Daemon("namenode", "NameNode", "hdfs", "hdfs", SITES[:2], ((NAME_DIR, 0o700),), 180),
        Daemon(
            "secondarynamenode", "SecondaryNameNode", "hdfs", "hdfs", SITES[:2], ((f"{DATA}/hdfs/checkpoint", 0o700),)
        ),
        Daemon("datanode", "DataNode", "hdfs", "hdfs", SITES[:2], ((f"{DATA}/hdfs/data", 0o700),)),
        Daemon(
            "resourcemanager",
            "ResourceManager",
            "yarn",
            "yarn",
            ("core-site", "hdfs-site", "yarn-site", "capacity-scheduler"),
        ),
        Daemon(
            "nodemanager",
            "NodeManager",
            "yarn",
            "yarn",
            ("core-site", "hdfs-site", "yarn-site"),
            ((f"{DATA}/yarn/local", 0o755), (f"{LOGS}/containers", 0o755)),
        ),
        Daemon(
            "historyserver",
            "JobHistoryServer",
            "mapred",
            "mapred",
            ("core-site", "hdfs-site", "yarn-site", "mapred-site"),
        ),
    )
}
USERS = ("hdfs", "yarn", "mapred")
DIRS_UNIT = "hadoop-hdfs-dirs.service"
ALL_UNITS = (*(daemon.unit for daemon in DAEMONS.values()), DIRS_UNIT)
# Who reads the list of workers while it runs, and how it is told to read it again.
READS_WORKERS = {
    "namenode": ("hdfs", "dfsadmin", "-refreshNodes"),
    "resourcemanager": ("yarn", "rmadmin", "-refreshNodes"),
}


@dataclass(frozen=True)
class Folder:
    """A folder that must exist."""

    path: str
    owner: str
    group: str
    mode: int


@dataclass(frozen=True)
class File:
    """A file with its whole content."""

    path: str
    content: str
    mode: int = 0o644
    group: str = "root"
    secret: bool = False


@dataclass(frozen=True)
class Unit:
    """A service that must be enabled and run.

    Attributes:
        inputs: fingerprint of all that the process reads at its start; the process carries it in its environment.
    """

    name: str
    inputs: str
    daemon: str = ""


@dataclass(frozen=True)
class Plan:
    """The whole node as it shall be."""

    folders: tuple[Folder, ...] = ()
    files: tuple[File, ...] = ()
    units: tuple[Unit, ...] = ()

    @property
    def surplus_units(self) -> tuple[str, ...]:
        """Units of this role that must not be there."""
        wanted = {unit.name for unit in self.units}
        return tuple(name for name in ALL_UNITS if name not in wanted)


def fingerprint(value: object) -> str:
    """A short name for any plain value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def daemon_inputs(daemon: Daemon, settings: Settings, secret: str) -> str:
    """Fingerprint of all that a daemon reads at its start, so that it is restarted for that and for nothing else."""
    mine = {
        site: {name: value for name, value in values.items() if name not in CLIENT_SIDE}
        for site, values in sites(settings).items()
        if site in daemon.sites
    }
    return fingerprint(
        [mine, settings.home, settings.release, settings.java_home, settings.heaps[daemon.name], log4j(), secret]
    )


def daemon_unit(daemon: Daemon, settings: Settings, inputs: str) -> str:
    """The unit of one daemon: in the foreground, no pid file, retried until what it needs is there."""
    options = f"-Xmx{settings.heaps[daemon.name]}m {GC} -XX:+ExitOnOutOfMemoryError"
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
Environment="{daemon.tool.upper()}_{daemon.name.upper()}_OPTS={options}"
Environment=HADOOP_LOG_DIR={LOGS}/{daemon.user}
Environment=HADOOP_PID_DIR=/run/hadoop-{daemon.name}
# What this process was started with; a run compares it with what is wanted.
Environment={INPUTS}={inputs}
RuntimeDirectory=hadoop-{daemon.name}
ExecStart={LINK}/bin/{daemon.tool} --config {CONF} {daemon.name}
# A JVM that was asked to stop ends with 128 + SIGTERM.
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
    """The unit that makes HDFS' folders once the NameNode can. It ends at once where nothing is missing."""
    return f"""# Managed by picluster.
[Unit]
Description=Folders that HDFS must have
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


def folders(daemons: list[Daemon]) -> tuple[Folder, ...]:
    """Every folder, parents first."""
    base = [
        Folder(CONF, "root", "root", 0o755),
        Folder(DATA, "root", GROUP, 0o755),
        *(Folder(f"{DATA}/{user}", user, GROUP, 0o755) for user in USERS),
        Folder(LOGS, "root", GROUP, 0o755),
        *(Folder(f"{LOGS}/{user}", user, GROUP, 0o755) for user in USERS),
    ]
    return (*base, *(Folder(path, d.user, GROUP, mode) for d in daemons for path, mode in d.dirs))


def site_file(site: str, values: dict[str, str], settings: Settings) -> File:
    """One file of properties: for everybody, unless the user's own hold a secret."""
    closed = any(is_secret(name) for name in settings.properties.get(site, {}))
    mode, group = (0o640, GROUP) if closed else (0o644, "root")
    return File(f"{CONF}/{site}.xml", render_xml(values), mode=mode, group=group)


def make_plan(settings: Settings, secret: str, script: str) -> Plan:
    """Computes the node as it shall be.

    Args:
        settings: what the node is told; checked.
        secret: key that signs HTTP cookies, the same on all nodes.
        script: text of hdfs_dirs.py.
    """
    if not settings.daemons:
        return Plan()
    daemons = [DAEMONS[name] for name in DAEMONS if name in settings.daemons]
    files = [site_file(site, values, settings) for site, values in sites(settings).items()]
    files += [
        File(f"{CONF}/log4j.properties", log4j()),
        File(f"{CONF}/hadoop-env.sh", hadoop_env(settings)),
        File(WORKERS, "".join(f"{name}\n" for name in sorted(settings.workers))),
        File(SECRET, f"{secret}\n", mode=0o640, group=GROUP, secret=True),
    ]
    files += [File(f"/usr/local/bin/{tool}", wrapper(tool), mode=0o755) for tool in TOOLS]
    units = []
    for daemon in daemons:
        inputs = daemon_inputs(daemon, settings, secret)
        units.append(Unit(daemon.unit, inputs, daemon.name))
        files.append(File(f"{UNITS}/{daemon.unit}", daemon_unit(daemon, settings, inputs)))
    if "namenode" in settings.daemons:
        wanted = json.dumps(hdfs_dirs(settings), indent=2) + "\n"
        inputs = fingerprint([wanted, script])
        files += [
            File(DIRS_JSON, wanted),
            File(SCRIPT, script),
            File(f"{UNITS}/{DIRS_UNIT}", dirs_unit(inputs)),
        ]
        units.append(Unit(DIRS_UNIT, inputs))
    return Plan(folders(daemons), tuple(files), tuple(units))


def software() -> tuple[str, ...]:
    """Every file that this role may have written, for a node that has left: all but data."""
    conf = [f"{CONF}/{site}.xml" for site in SITES]
    conf += [f"{CONF}/log4j.properties", f"{CONF}/hadoop-env.sh", WORKERS, SECRET, DIRS_JSON]
    return (*conf, SCRIPT, *(f"/usr/local/bin/{tool}" for tool in TOOLS), *(f"{UNITS}/{name}" for name in ALL_UNITS))


class FormatRefusedError(Exception):
    """A name folder holds something that a format must not touch; the message is one sentence for the user."""


def must_format(entries: set[str], current: set[str]) -> bool:
    """Tells whether a NameNode's folder is new and must be formatted.

    Args:
        entries: what the name folder holds.
        current: what its `current` holds (empty where there is none).

    Raises:
        FormatRefusedError: there is something, and it is no NameNode's image: nothing is formatted over it.
    """
    if "current" in entries:
        if "VERSION" in current:
            return False
        raise FormatRefusedError(
            f"{NAME_DIR}/current exists without VERSION, so it is a damaged image or another's data; "
            "restore it from a copy, or move it away if it is worth nothing"
        )
    foreign = sorted(entries - {".formatting", "lost+found", "in_use.lock"})
    if foreign:
        raise FormatRefusedError(
            f"{NAME_DIR} holds {foreign[0]!r} and no image, so it is not formatted; move that away"
        )
    return True
