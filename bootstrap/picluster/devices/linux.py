"""Disks on Linux: listed by lsblk, judged by what is mounted through all layers, opened past the page cache."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from picluster.devices import Device, described, mounted_on, mounts, printable, same_medium
from picluster.devices.asking import looked_at, run
from picluster.devices.blocks import BlockNode, Tree
from picluster.devices.linuxdisk import NO_RIGHT, open_disk
from picluster.devices.raw import explain
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from picluster.cards.target import Target
    from picluster.devices.mounts import Mount

_TIMEOUT_S = 5
_BUSY_TRIES = 20
_BUSY_PAUSE_S = 0.25
# Only columns of util-linux 2.27 (the first with --json) or later that every distribution in use has.
_COLUMNS = (
    "NAME,KNAME,MAJ:MIN,TYPE,SIZE,RO,RM,HOTPLUG,SUBSYSTEMS,VENDOR,MODEL,SERIAL,PTTYPE,FSTYPE,LABEL,UUID,PARTUUID,"
    "PARTLABEL"
)
# Debian keeps blkid where a user's PATH does not look.
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
# What blkid(8) ends with when it found nothing, and when it found more than one answer.
_BLKID_NOTHING, _BLKID_AMBIVALENT = 2, 8


@dataclass(frozen=True)
class Facts:
    """All that the listing is made of, as the system told it: lsblk's JSON, files of /proc and /etc, and more.

    Attributes:
        links: Where the device files that fstab names lead to (/dev/disk/by-id/...).
        sequences: /sys/block/*/diskseq, by kernel name.
        loops: /sys/block/*/loop/backing_file, by kernel name.
        soldered: Kernel names of eMMC chips, which lsblk cannot tell from cards.
        names: What cards in a reader of the board's own call themselves, by kernel name: lsblk has no model for them.
        pools: Kernel names of the members of each btrfs file system (/sys/fs/btrfs).
        found: What blkid found where lsblk knows of nothing, by kernel name.
        stacked: What lies on a device as the kernel tells it (holders, slaves, loop devices), by kernel name.
    """

    lsblk: str
    mountinfo: str = ""
    swaps: str = ""
    cmdline: str = ""
    fstab: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    sequences: Mapping[str, str] = field(default_factory=dict)
    loops: Mapping[str, str] = field(default_factory=dict)
    soldered: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    pools: Sequence[frozenset[str]] = ()
    found: Mapping[str, str] = field(default_factory=dict)
    stacked: Mapping[str, frozenset[str]] = field(default_factory=dict)


class _Judge:
    """Says which block devices a mount lies on, and which hold the running system."""

    def __init__(self, facts: Facts, tree: Tree) -> None:
        self._facts = facts
        self._tree = tree
        self.mounts = mounts.parse_mountinfo(facts.mountinfo)

    def below(self, mount: Mount | None) -> set[str]:
        """Return the block devices that a mount's file system is on."""
        if mount is None:
            return set()
        found = self._tree.numbered(mount.number)
        if not found and mount.kind == "zfs":
            found = self._tree.pool(mount.source)
        elif not found:
            # bcachefs names all its members, with colons between.
            for path in mount.source.split(":"):
                found |= self._tree.at(path)
        for pool in self._facts.pools:
            if pool & found:
                found |= pool & self._tree.nodes.keys()
        return found

    def system(self) -> set[str]:
        """Return the block devices that hold the running system or its swap."""
        found = self._swap()
        for mount in self.mounts:
            if mount.of_the_system:
                found |= self.below(mount)
        if not self.below(mounts.mount_of(self.mounts, "/")):
            found |= self._without_root()
        found |= self._planned(found)
        # A system that runs from a file (a live system, or one in a loop) runs from the disk with that file.
        known: set[str] = set()
        while known != found:
            known = set(found)
            for loop, file in self._facts.loops.items():
                if loop in self._tree.nodes and self._tree.on(loop) & found:
                    found |= self.below(mounts.mount_of(self.mounts, file))
        return found

    def _swap(self) -> set[str]:
        found: set[str] = set()
        for path in mounts.parse_swaps(self._facts.swaps):
            found |= self._tree.at(path) or self.below(mounts.mount_of(self.mounts, path))
        return found

    def _planned(self, known: set[str]) -> set[str]:
        """Find what the system boots from or swaps to, but does not use now."""
        # What waits to be mounted shows as autofs.
        used = {mount.point for mount in self.mounts if mount.kind != "autofs"}
        disks = [self._tree.on(disk.kname) for disk in self._tree.disks]
        found: set[str] = set()
        for line in mounts.parse_fstab(self._facts.fstab):
            if not line.of_the_system or line.point in used:
                continue
            meant = self._tree.tagged(self._facts.links.get(line.source, line.source))
            if not meant and line.source.startswith("/"):
                meant = self.below(mounts.mount_of(self.mounts, line.source))
            # The cards of one stock image have the same names and numbers: those beside the system's own are copies.
            if not any(layers & known and layers & meant for layers in disks):
                found |= meant
        return found

    def _without_root(self) -> set[str]:
        """Find the disks of a system whose / is on no disk: in a container, or a live system."""
        found = self._tree.tagged(mounts.root_of(self._facts.cmdline))
        for mount in self.mounts:
            # A container gets single files and directories of its host's disks; a live system runs from a loop.
            below = self.below(mount)
            if (mount.root != "/" and mount.kind != "btrfs") or below & self._facts.loops.keys():
                found |= below
        return found


def parse(facts: Facts) -> list[Device]:
    """Return the disks that these facts describe."""
    tree = Tree(facts.lsblk, facts.stacked)
    judge = _Judge(facts, tree)
    system = judge.system()
    devices = []
    for disk in tree.disks:
        layers = tree.on(disk.kname)
        mounted = [mount for mount in judge.mounts if judge.below(mount) & layers]
        removable = _removable(disk, facts)
        if not removable and not disk.size:
            continue
        devices.append(
            Device(
                path=disk.path,
                size=disk.size,
                model=_model(disk, facts),
                serial=printable(disk.text("serial")),
                removable=removable,
                system=bool(layers & system),
                read_only=disk.flag("ro"),
                mounts=tuple(dict.fromkeys(mount.point for mount in mounted)),
                contents=_contents(tree, disk)
                or facts.found.get(disk.kname, "")
                or ", ".join(dict.fromkeys(printable(mount.kind) for mount in mounted)),
                sequence=facts.sequences.get(disk.kname, ""),
            )
        )
    return devices + [_aside(tree.nodes[kname], why) for kname, why in tree.asides.items()]


def _aside(node: BlockNode, why: str) -> Device:
    return Device(
        path=node.path,
        size=node.size,
        model="",
        serial="",
        removable=False,
        system=False,
        read_only=node.flag("ro"),
        mounts=(),
        contents="",
        sequence="",
        aside=why,
    )


def _removable(disk: BlockNode, facts: Facts) -> bool:
    if disk.text("type") == "loop" or disk.kname in facts.soldered:
        return False
    return disk.flag("rm") or disk.flag("hotplug") or "mmc" in disk.text("subsystems").split(":")


def _model(disk: BlockNode, facts: Facts) -> str:
    if disk.kname in facts.loops:
        return printable(f"file {facts.loops[disk.kname]}")
    return printable(f"{disk.text('vendor')} {disk.text('model')}") or printable(facts.names.get(disk.kname, ""))


def _contents(tree: Tree, disk: BlockNode) -> str:
    """Say what is on a disk; empty if lsblk knows of nothing."""
    parts = sorted((tree.nodes[kname] for kname in disk.children), key=lambda node: node.kname)
    told = [_file_system(node) or "unknown" for node in parts]
    if not told and disk.text("fstype"):
        told = [_file_system(disk)]
    if not told and disk.text("pttype"):
        told = [f"an empty partition table ({printable(disk.text('pttype'))})"]
    return ", ".join(told)


def _file_system(node: BlockNode) -> str:
    return printable(f"{node.text('fstype')} {node.text('label')}")


class Linux:
    """The disks of this machine, as picluster.devices.Platform says; /proc and /sys are below ``root``."""

    def __init__(
        self,
        run: Callable[[Sequence[str]], subprocess.CompletedProcess[str]] | None = None,
        root: Path = Path("/"),
        pause: Callable[[], None] = lambda: time.sleep(_BUSY_PAUSE_S),
    ) -> None:
        self._run = run or _run
        self._root = root
        self._pause = pause

    def devices(self) -> list[Device]:
        """List whole disks, empty readers among them."""
        # blkid knows signatures only, and says of what it may not read the same as of what is blank.
        return looked_at(parse(self.facts()), self.peek)

    def facts(self, *, probe: bool = True) -> Facts:
        """Ask the system; ``probe`` opens the disks that lsblk knows nothing of."""
        told = self._run(["lsblk", "--json", "--bytes", "--all", "--output", _COLUMNS])
        if told.returncode and not told.stdout.strip():
            raise PiclusterError(f"lsblk failed ({told.stderr.strip() or told.returncode}): the disks are unknown")
        tree = Tree(told.stdout)
        fstab = _text(self._root / "etc/fstab")
        devices = [line.source for line in mounts.parse_fstab(fstab) if line.source.startswith("/dev/")]
        blocks = {kname: self._root / "sys/class/block" / kname for kname in tree.nodes}
        loops = _read_each(blocks, "loop/backing_file")
        return Facts(
            lsblk=told.stdout,
            mountinfo=_text(self._root / "proc/self/mountinfo"),
            swaps=_text(self._root / "proc/swaps"),
            cmdline=_text(self._root / "proc/cmdline"),
            fstab=fstab,
            links={path: os.path.realpath(path) for path in devices},
            sequences=_read_each(blocks, "diskseq"),
            loops=loops,
            soldered=frozenset(kname for kname, kind in _read_each(blocks, "device/type").items() if kind == "MMC"),
            names=_read_each(blocks, "device/name"),
            pools=[frozenset(_names(path)) for path in sorted((self._root / "sys/fs/btrfs").glob("*/devices"))],
            found=dict(self._probe(tree)) if probe else {},
            stacked=self._stacked(tree, blocks, loops),
        )

    def _stacked(self, tree: Tree, blocks: Mapping[str, Path], loops: Mapping[str, str]) -> dict[str, frozenset[str]]:
        """Return what lies on each device; a loop device is in no holders and no slaves, only its file tells."""
        found: dict[str, set[str]] = {kname: set(_names(path / "holders")) for kname, path in blocks.items()}
        for kname, path in blocks.items():
            for lower in _names(path / "slaves"):
                found.setdefault(lower, set()).add(kname)
        for loop, file in loops.items():
            below = file.removesuffix(" (deleted)")
            for lower in tree.numbered(_number(self._root / below.lstrip("/"))) or tree.at(below):
                found[lower].add(loop)
        return {kname: frozenset(upper) for kname, upper in found.items() if upper}

    def _probe(self, tree: Tree) -> Iterator[tuple[str, str]]:
        """Look at the disks that lsblk knows nothing of: its answers come from a data base that may lag behind."""
        blkid = shutil.which("blkid", path=_PATH)
        for disk in tree.disks:
            if not blkid or not disk.size or _contents(tree, disk):
                continue
            told = self._run([blkid, "-p", "-o", "export", disk.path])
            if told.returncode == _BLKID_AMBIVALENT:
                yield disk.kname, "more than one file system"
            elif told.returncode != _BLKID_NOTHING or told.stdout:
                yield disk.kname, parse_blkid(told.stdout)

    def peek(self, device: Device, offset: int, length: int) -> bytes:
        """Read from it without locking it."""
        try:
            with (self._root / device.path.lstrip("/")).open("rb", buffering=0) as disk:
                disk.seek(offset)
                return disk.read(length)
        except OSError as error:
            raise explain(error, device.path, NO_RIGHT) from error

    def open(self, device: Device, *, unmount: bool) -> Target:
        """Open it to be overwritten, if a fresh listing shows the very same device and medium."""
        now = same_medium(device, self.devices())
        # Of several mounts at one place only the uppermost is seen, so look again.
        while now.mounts:
            if not unmount:
                raise PiclusterError(f"{now.path} is mounted on {mounted_on(now)}: unmount it first")
            self._unmount(now)
            now = same_medium(device, self.devices(), unmounted=True)
        for loop in self._loops_on(now):
            # O_EXCL knows holders, and a loop device is none: a mount of it elsewhere would go unseen.
            with self._open_free(loop):
                pass
        target = self._open_free(now.path)
        # Between the listing and the opening a hand may have been quicker.
        current = self._sequence(now.path)
        if current != now.sequence or target.capacity != now.size:
            with target:
                raise PiclusterError(f"another card is in {now.path} now (chosen was {described(device)}): start again")
        return target

    def _loops_on(self, device: Device) -> list[str]:
        facts = self.facts(probe=False)
        tree = Tree(facts.lsblk, facts.stacked)
        layers = {layer for kname in tree.at(device.path) for layer in tree.on(kname) - {kname}}
        return [tree.nodes[loop].path for loop in sorted(layers & facts.loops.keys())]

    def _open_free(self, path: str) -> Target:
        """Open a disk once nothing else holds it: a container that starts keeps copies of all mounts for a moment."""
        for _ in range(_BUSY_TRIES - 1):
            try:
                return open_disk(path)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
            self._pause()
        return open_disk(path)

    def _sequence(self, path: str) -> str:
        kname = path.removeprefix("/dev/").replace("/", "!")
        return _text(self._root / "sys/class/block" / kname / "diskseq").strip()

    def _unmount(self, device: Device) -> None:
        # What was mounted last lies deepest, or on top.
        for point in reversed(device.mounts):
            told = self._run(["umount", "--", point])
            if told.returncode:
                reason = printable(told.stderr).removeprefix("umount: ") or f"umount ended with {told.returncode}"
                raise PiclusterError(f"{device.path} cannot be unmounted ({reason}): close what uses it")


def parse_blkid(text: str) -> str:
    """Say what ``blkid -p -o export`` found; never empty."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if "PTTYPE" in found:
        return printable(f"a partition table ({found['PTTYPE']})")
    return printable(f"{found.get('TYPE', '')} {found.get('LABEL', '')}") or "something that blkid cannot name"


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    told = run(
        command,
        timeout_s=_TIMEOUT_S,
        missing="is not installed: install util-linux",
        env={**os.environ, "PATH": _PATH, "LC_ALL": "C.UTF-8"},
    )
    out, err = (stream.decode(errors="replace") for stream in (told.stdout, told.stderr))
    return subprocess.CompletedProcess(told.args, told.returncode, out, err)


def _number(path: Path) -> str:
    """Return the major:minor of a device file, empty if it is none."""
    if sys.platform == "win32":  # for the type checker: Python has no such numbers there
        return ""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if stat.S_ISBLK(found.st_mode) else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _read_each(blocks: Mapping[str, Path], name: str) -> dict[str, str]:
    texts = {kname: _text(path / name).strip() for kname, path in blocks.items()}
    return {kname: text for kname, text in texts.items() if text}


def _names(folder: Path) -> Iterable[str]:
    with contextlib.suppress(OSError):
        return [path.name for path in folder.iterdir()]
    return []
