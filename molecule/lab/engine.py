"""The container engine behind one small interface: Docker by its command line today, Podman can follow."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Bit numbers of include/uapi/linux/capability.h, as far as Docker 20.10 has a name for them. PERFMON, BPF and
# CHECKPOINT_RESTORE (38 to 40) are left out: 20.10 refuses them, and SYS_ADMIN covers what they allow.
CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
)

# What a whole system in a container needs beside capabilities; --privileged would ask for all of this and more,
# and is refused where the host lacks a capability.
UNCONFINED = ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined")

LABEL = "picluster.cluster"


def capabilities_in(mask: int) -> list[str]:
    """Names of the capabilities in a bounding set, without those that the engine has no name for.

    Args:
        mask: the number behind ``CapBnd:`` in /proc/PID/status.
    """
    return [name for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1]


def host_capabilities(status: Path = Path("/proc/self/status")) -> list[str]:
    """The capabilities that this host can give: those of this process's bounding set."""
    match = re.search(r"^CapBnd:\s*([0-9a-f]+)$", status.read_text(encoding="ascii"), re.MULTILINE)
    if match is None:
        raise LabError(f"{status} names no capability bounding set (CapBnd); the lab needs a Linux host.")
    return capabilities_in(int(match[1], 16))


@dataclass(frozen=True)
class Container:
    """What to run: everything that the lab asks of an engine, and nothing else."""

    image: str
    command: Sequence[str] = ()
    name: str = ""
    hostname: str = ""
    network: str = ""
    pid: str = ""
    private_cgroups: bool = False
    unconfined: bool = False
    capabilities: Sequence[str] = ()
    binds: Sequence[tuple[Path, str, str]] = ()
    volumes: Sequence[str] = ()
    tmpfs: Sequence[str] = ()
    devices: Sequence[str] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""


@dataclass(frozen=True)
class Status:
    """One container as the engine sees it."""

    name: str
    running: bool
    pid: int
    address: str
    image: str
    labels: Mapping[str, str]


class Engine(Protocol):
    """What the lab needs of a container engine."""

    def start(self, container: Container) -> None:
        """Run in the background."""

    def once(self, container: Container) -> str:
        """Run to the end, remove, return standard output."""

    def execute(self, name: str, command: Sequence[str], *, timeout: float | None = None) -> tuple[int, str]:
        """Run a command in a running container; return its code and its output."""

    def logs(self, name: str) -> str:
        """What a container's first process has said so far, on both of its outputs."""

    def status(self, name: str) -> Status | None:
        """What the engine knows of a container; None when there is none."""

    def names(self, cluster: str) -> list[str]:
        """All containers of a cluster, running or not."""

    def again(self, name: str, *, kill: bool) -> None:
        """Start a container again; with kill like after a power cut."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove containers with their volumes, running or not."""

    def has_image(self, image: str) -> bool:
        """Whether the engine holds this image."""

    def load(self, rootfs: IO[bytes], image: str, command: Sequence[str]) -> None:
        """Import a root file system (tar) as an image."""


class Docker:
    """Docker by its command line (20.10 and later)."""

    def __init__(self, program: Sequence[str]) -> None:
        self._program = list(program)

    @classmethod
    def find(cls) -> Docker:
        """The engine that answers: as this user, else by sudo where that asks no password.

        Raises:
            LabError: none answers.
        """
        if shutil.which("docker") is None:
            raise LabError("There is no docker command here; molecule/lab/host-setup installs one.")
        candidates = [["docker"]]
        if shutil.which("sudo"):
            candidates.append(["sudo", "-n", "docker"])
        for program in candidates:
            probe = subprocess.run(
                [*program, "version", "--format", "{{.Server.Version}}"], capture_output=True, check=False
            )
            if probe.returncode == 0:
                return cls(program)
        raise LabError("No Docker engine answers to this user; molecule/lab/host-setup starts one where it may.")

    def _run(self, *arguments: str, stdin: IO[bytes] | None = None) -> str:
        done = subprocess.run(
            [*self._program, *arguments],
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            message = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
            raise LabError(f"docker {arguments[0]} failed: {message or f'exit code {done.returncode}'}")
        return done.stdout.decode(errors="replace")

    def start(self, container: Container) -> None:
        """Run in the background."""
        self._run("run", "--detach", *docker_arguments(container))

    def once(self, container: Container) -> str:
        """Run to the end, remove, return standard output."""
        return self._run("run", "--rm", *docker_arguments(container))

    def execute(self, name: str, command: Sequence[str], *, timeout: float | None = None) -> tuple[int, str]:
        """Run a command in a running container; return its code (124: out of time) and its output."""
        try:
            done = subprocess.run(
                [*self._program, "exec", name, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as late:
            return 124, (late.stdout or b"").decode(errors="replace")
        return done.returncode, done.stdout.decode(errors="replace")

    def logs(self, name: str) -> str:
        """What a container's first process has said so far, on both of its outputs."""
        done = subprocess.run(
            [*self._program, "logs", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        return done.stdout.decode(errors="replace")

    def status(self, name: str) -> Status | None:
        """What the engine knows of a container; None when there is none."""
        template = (
            '{{.State.Running}}\t{{.State.Pid}}\t{{with index .NetworkSettings.Networks "bridge"}}{{.IPAddress}}{{end}}'
            "\t{{.Config.Image}}{{range $k, $v := .Config.Labels}}\t{{$k}}={{$v}}{{end}}"
        )
        done = subprocess.run(
            [*self._program, "container", "inspect", "--format", template, name], capture_output=True, check=False
        )
        if done.returncode != 0:
            if b"no such container" in done.stderr.lower():
                return None
            raise LabError(f"docker inspect failed: {done.stderr.decode(errors='replace').strip()}")
        running, pid, address, image, *labels = done.stdout.decode().rstrip("\n").split("\t")
        return Status(
            name=name,
            running=running == "true",
            pid=int(pid),
            address=address,
            image=image,
            labels=dict(label.split("=", 1) for label in labels),
        )

    def names(self, cluster: str) -> list[str]:
        """All containers of a cluster, running or not."""
        chosen = f"label={LABEL}={cluster}" if cluster else f"label={LABEL}"
        return self._run("ps", "--all", "--filter", chosen, "--format", "{{.Names}}").split()

    def again(self, name: str, *, kill: bool) -> None:
        """Start a container again; with kill like after a power cut."""
        found = self.status(name)
        if found is not None and found.running:
            self._run("kill" if kill else "stop", name)
        self._run("start", name)

    def remove(self, names: Sequence[str]) -> None:
        """Remove containers with their volumes, running or not."""
        if names:
            self._run("rm", "--force", "--volumes", *names)

    def has_image(self, image: str) -> bool:
        """Whether the engine holds this image."""
        done = subprocess.run([*self._program, "image", "inspect", image], capture_output=True, check=False)
        return done.returncode == 0

    def load(self, rootfs: IO[bytes], image: str, command: Sequence[str]) -> None:
        """Import a root file system (tar) as an image."""
        words = ", ".join(f'"{word}"' for word in command)
        self._run("import", "--change", f"CMD [{words}]", "-", image, stdin=rootfs)


def docker_arguments(container: Container) -> list[str]:
    """Arguments of ``docker run`` for a container."""
    # All images are built here; a registry is never to be asked for one of their names.
    words = ["--pull", "never"]
    for option, value in (
        ("--name", container.name),
        ("--hostname", container.hostname),
        ("--network", container.network),
        ("--pid", container.pid),
        ("--stop-signal", container.stop_signal),
        ("--cgroupns", "private" if container.private_cgroups else ""),
    ):
        if value:
            words += [option, value]
    for option, values in (
        ("--cap-add", container.capabilities),
        ("--security-opt", UNCONFINED if container.unconfined else ()),
        ("--volume", container.volumes),
        ("--tmpfs", container.tmpfs),
        ("--device", container.devices),
        ("--sysctl", [f"{key}={value}" for key, value in container.sysctls.items()]),
        ("--label", [f"{key}={value}" for key, value in container.labels.items()]),
        ("--mount", [bind_mount(*bind) for bind in container.binds]),
    ):
        for value in values:
            words += [option, value]
    return [*words, container.image, *container.command]


def bind_mount(source: Path, target: str, mode: str) -> str:
    """One bind mount in the notation of ``--mount``; mode is ``ro`` or ``rw``."""
    return f"type=bind,source={source},target={target}" + (",readonly" if mode == "ro" else "")
