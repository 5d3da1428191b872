"""What goes into an image: packages, files, sources. Its hash names the result, so a change builds anew."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).parent
SUITES = ("trixie", "bookworm")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

CARD_PACKAGES = (
    "busybox",
    "ca-certificates",
    "cloud-init",
    "curl",
    "dbus",
    "debian-archive-keyring",
    # cloud-init wants resize2fs for the root file system where it is on a disk.
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "libpam-systemd",
    "locales",
    "netplan.io",
    "network-manager",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
    "systemd-timesyncd",
)
# nmap is for the stranger, who is run from the same image.
GATEWAY_PACKAGES = ("dnsmasq-base", "dnsmasq-utils", "iproute2", "nftables", "nmap")
GATEWAY_SUITE = "trixie"
# Raised when the way an image is put together changes without its files changing.
FORMAT = 1


@dataclass(frozen=True)
class Apt:
    """What the machine's own apt configuration says about getting Debian's packages."""

    sources: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """One root file system."""

    kind: str
    suite: str
    packages: tuple[str, ...]
    script: str
    overlays: tuple[Path, ...]
    boot: Path | None
    apt: Apt

    @property
    def digest(self) -> str:
        """The hash that names the result: of all that the recipe says, 12 hex digits."""
        said = hashlib.sha256()
        plain = [FORMAT, self.kind, self.suite, self.packages, self.script, self.apt.sources, self.apt.options]
        said.update(json.dumps([*plain, platform.machine()]).encode())
        for folder in (*self.overlays, *([self.boot] if self.boot else [])):
            for path in files_below(folder):
                content = b"->" + bytes(path.readlink()) if path.is_symlink() else path.read_bytes()
                said.update(f"{path.relative_to(folder)}\0".encode() + content + b"\0")
                said.update(b"x" if is_program(path) else b"")
        return said.hexdigest()[:12]

    @property
    def name(self) -> str:
        """File name stem of the result and, with a colon, the engine image's name."""
        return f"{self.kind}-{self.suite}-{self.digest}"

    @property
    def engine_image(self) -> str:
        """Name under which the engine holds the root file system."""
        return f"picluster/{self.kind}-{self.suite}:{self.digest}"

    @property
    def disk_id(self) -> str:
        """The MBR's disk signature, 8 hex digits: PARTUUID in fstab and cmdline.txt starts with it."""
        return hashlib.sha256(self.digest.encode()).hexdigest()[:8]

    def filled(self, text: str) -> str:
        """A template with the disk's signature filled in."""
        return text.replace("@DISKID@", self.disk_id)

    def boot_files(self) -> dict[str, bytes]:
        """The files of the FAT partition as the stock image ships them."""
        if self.boot is None:
            return {}
        return {path.name: self.filled(path.read_text("utf-8")).encode() for path in files_below(self.boot)}

    def overlay(self) -> bytes:
        """A tar of the files to add to the root file system, all owned by root."""
        buffer = io.BytesIO()
        added: dict[str, Path] = {}
        for folder in self.overlays:
            added |= {str(path.relative_to(folder)): path for path in files_below(folder)}
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, path in sorted(added.items()):
                entry = tarfile.TarInfo(f"./{name}")
                if path.is_symlink():
                    entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
                    tar.addfile(entry)
                    continue
                entry.size, entry.mode = path.stat().st_size, 0o755 if is_program(path) else 0o644
                with path.open("rb") as content:
                    tar.addfile(entry, content)
        return buffer.getvalue()


def files_below(folder: Path) -> list[Path]:
    """All files and links of a folder, in one order everywhere."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def is_program(path: Path) -> bool:
    """Whether its owner may execute a file; the rest of a checkout's modes is up to the user's umask."""
    return not path.is_symlink() and bool(path.stat().st_mode & 0o100)


def card(suite: str, apt: Apt) -> Recipe:
    """The stock-like card at a suite.

    Raises:
        LabError: the lab has no such suite.
    """
    if suite not in SUITES:
        raise LabError(f"The lab builds cards of {' and '.join(SUITES)}, not of {suite!r}.")
    folder = HERE / "card"
    return Recipe(
        kind="card",
        suite=suite,
        packages=CARD_PACKAGES,
        script=(folder / "customize.sh").read_text("utf-8"),
        overlays=tuple(path for path in (folder / "root", folder / f"root-{suite}") if path.is_dir()),
        boot=folder / "boot",
        apt=apt,
    )


def gateway(apt: Apt) -> Recipe:
    """The small system that routes, serves DHCP and does the lab's privileged plumbing."""
    return Recipe("gateway", GATEWAY_SUITE, GATEWAY_PACKAGES, "rm -f /etc/resolv.conf", (), None, apt)


def apt_of_host(suite: str, os_release: Path = Path("/etc/os-release")) -> Apt:
    """How this machine gets Debian's packages, for a suite that need not be its own.

    On Debian the machine's own mirrors, with the suite's name in place of its own; elsewhere none, so that mmdebstrap
    takes its default. What apt was told about proxies and dates holds for both, and goes into the image with it.
    """
    dump = _output("apt-config", "dump")
    wanted = re.compile(r"^Acquire::(Check-Valid-Until|Check-Date|Retries|https?::(Proxy|Timeout))\b.* \"[^\"]")
    lines = [line for line in dump.splitlines() if wanted.match(line)]
    options = tuple(sorted(lines + proxies_of(os.environ, lines)))
    values = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', os_release.read_text("utf-8"), re.MULTILINE))
    if values.get("ID") != "debian":
        return Apt(options=options)
    targets = _output(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"
    )
    return Apt(sources=sources_for(suite, values.get("VERSION_CODENAME", ""), targets), options=options)


def proxies_of(environment: Mapping[str, str], said: Sequence[str]) -> list[str]:
    """Proxies from the environment as apt options, where apt's own configuration names none for a scheme.

    Args:
        environment: the process's environment.
        said: apt options, one a line.
    """
    return [
        f'Acquire::{scheme}::Proxy "{environment[name]}";'
        for scheme, name in (("http", "http_proxy"), ("https", "https_proxy"))
        if environment.get(name) and not any(line.startswith(f"Acquire::{scheme}::Proxy ") for line in said)
    ]


def sources_for(suite: str, codename: str, targets: str) -> tuple[str, ...]:
    """Return apt source lines of a suite, made from the machine's own index targets.

    Args:
        suite: the suite wanted.
        codename: the machine's own suite.
        targets: lines of ``URI RELEASE COMPONENT``.
    """
    own = {codename: suite, f"{codename}-updates": f"{suite}-updates", f"{codename}-security": f"{suite}-security"}
    lines: list[str] = []
    for target in targets.splitlines():
        uri, release, component = target.split()
        if release in own and component == "main":
            line = f"deb [signed-by={KEYRING}] {uri} {own[release]} main"
            if line not in lines:
                lines.append(line)
    # Without its own main archive (a machine that follows "stable", say) the rest is of no use.
    return tuple(lines) if any(line.endswith(f" {suite} main") for line in lines) else ()


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise LabError(f"The lab needs Debian's apt to build its images: {error}") from error
