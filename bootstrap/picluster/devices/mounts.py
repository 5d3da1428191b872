"""What Linux says of mounts and swap, read from /proc: pure functions of its text."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import PurePosixPath

_ESCAPED = re.compile(r"\\([0-7]{3})")
# From the optional fields on, the number of words varies; " - " ends them (proc_pid_mountinfo(5)).
_FIXED = 5
# Where a running system has its own files. What is mounted below the last three is its own as well.
_SYSTEM = frozenset({"/", "/boot", "/efi", "/usr", "/var", "/home", "/etc", "/nix", "/gnu", "/sysroot"})
_SYSTEM_BELOW = ("/boot/", "/usr/", "/var/")
# Where live systems and installers keep the medium they run from.
_LIVE = frozenset(
    {
        "/cdrom",
        "/isodevice",
        "/lib/live/mount/medium",
        "/run/archiso/bootmnt",
        "/run/initramfs/isoscan",
        "/run/initramfs/live",
        "/run/live/medium",
        "/run/miso/bootmnt",
    }
)


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo.

    The number is "major:minor", with major 0 where a file system has no one block device (btrfs, zfs); ``root`` is the
    directory of that file system that is seen at the point.
    """

    number: str
    root: str
    point: str
    kind: str
    source: str

    @property
    def of_the_system(self) -> bool:
        """Return whether a running system has its own files here."""
        return self.point in _SYSTEM or self.point in _LIVE or self.point.startswith(_SYSTEM_BELOW)


def unescape(text: str) -> str:
    r"""Undo the octal escapes of /proc (\040 is a blank)."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


def parse_mountinfo(text: str) -> list[Mount]:
    """Read /proc/self/mountinfo, in the order of mounting."""
    mounts = []
    # Not splitlines(): a name may hold what Unicode calls a line end.
    for line in text.split("\n"):
        words = line.split(" ")
        if "-" not in words[_FIXED:]:
            continue
        tail = words[words.index("-", _FIXED) + 1 :]
        kind, source = (*tail, "", "")[:2]
        mounts.append(Mount(words[2], unescape(words[3]), unescape(words[4]), kind, unescape(source)))
    return mounts


@dataclass(frozen=True)
class Planned:
    """A line of /etc/fstab.

    The source is a path, LABEL=... or UUID=...; the point of swap is "none" or the like, its kind "swap".
    """

    source: str
    point: str
    kind: str

    @property
    def of_the_system(self) -> bool:
        """Return whether the system boots from it or swaps to it, now or next time."""
        return self.kind == "swap" or self.point in {"/boot", "/efi"} or self.point.startswith("/boot/")


def parse_fstab(text: str) -> list[Planned]:
    """Read /etc/fstab; lines that are none are left out."""
    lines = [line.split() for line in text.split("\n") if not line.lstrip().startswith("#")]
    return [Planned(*map(unescape, words[:3])) for words in lines if len(words) >= len(fields(Planned))]


def parse_swaps(text: str) -> list[str]:
    """Read /proc/swaps: the devices and files that the system swaps to."""
    return [unescape(line.split()[0]) for line in text.splitlines()[1:] if line.strip()]


def mount_of(mounts: list[Mount], path: str) -> Mount | None:
    """Return the mount that holds this file; of several at one place, the last one is seen."""
    wanted = PurePosixPath(path)
    holders = [mount for mount in mounts if wanted.is_relative_to(mount.point)]
    return max(reversed(holders), key=lambda mount: len(PurePosixPath(mount.point).parts), default=None)


def root_of(cmdline: str) -> str:
    """Return what the kernel was told to take as its root: a path, LABEL=..., UUID=..., or empty."""
    roots = [word.removeprefix("root=") for word in cmdline.split() if word.startswith("root=")]
    return roots[-1].split("/PARTNROFF", 1)[0] if roots else ""
