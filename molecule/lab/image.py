"""Builds the stock-like card image and the engine images from one root file system each; once, then cached."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError
from picluster import cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lab.engine import Engine
    from lab.recipe import Recipe
    from lab.report import Reporter

SECTOR = 512
MIB = 1024 * 1024
BOOT_START = 8 * MIB
# The stock boot partition has 512 MiB, most of it for kernels that a container does not need. FAT32 needs 65,525
# clusters (Microsoft's FAT specification), so it cannot be much smaller.
BOOT_SIZE = 64 * MIB
INIT = ("/sbin/init",)


def cache_folder() -> Path:
    """Where built images are kept: below the root that all downloads share."""
    return cache.root() / "lab"


class Builder:
    """Builds what a recipe says, unless it is there already."""

    def __init__(self, engine: Engine, report: Reporter, cache: Path | None = None) -> None:
        self._engine = engine
        self._report = report
        self._cache = cache or cache_folder()

    def card(self, recipe: Recipe) -> Path:
        """The card image of a recipe; its root file system is then in the engine, too."""
        with self._locked(recipe):
            target = self._cache / f"{recipe.name}.img"
            if target.exists() and self._engine.has_image(recipe.engine_image):
                return target
            rootfs = self._rootfs(recipe)
            if not target.exists():
                with self._report.step(f"Laying out the {recipe.suite} card"), self._scratch(recipe) as scratch:
                    unfinished = scratch / target.name
                    layout = Layout(recipe.disk_id, "bootfs", recipe.boot_files(), [(rootfs, ())])
                    write_card(unfinished, layout, scratch)
                    unfinished.replace(target)
            self._import(recipe, rootfs)
            return target

    def system(self, recipe: Recipe) -> str:
        """The engine image of a system that is on no card, such as the gateway's."""
        with self._locked(recipe):
            if not self._engine.has_image(recipe.engine_image):
                self._import(recipe, self._rootfs(recipe))
            return recipe.engine_image

    def rootfs(self, recipe: Recipe) -> Path:
        """The root file system of a recipe, a tar."""
        with self._locked(recipe):
            return self._rootfs(recipe)

    def _rootfs(self, recipe: Recipe) -> Path:
        target = self._cache / f"{recipe.name}.tar"
        if not target.exists():
            doing = f"Building the {recipe.kind}'s {recipe.suite} system from Debian's packages"
            with self._report.step(doing), self._scratch(recipe) as scratch:
                overlay = scratch / "overlay.tar"
                overlay.write_bytes(recipe.overlay())
                unfinished = scratch / target.name
                build_rootfs(unfinished, recipe, overlay)
                unfinished.replace(target)
        return target

    def _import(self, recipe: Recipe, rootfs: Path) -> None:
        if self._engine.has_image(recipe.engine_image):
            return
        with self._report.step(f"Importing {recipe.engine_image}"), rootfs.open("rb") as tar:
            self._engine.load(tar, recipe.engine_image, INIT)

    @contextmanager
    def _locked(self, recipe: Recipe) -> Iterator[None]:
        """One builder of a kind and suite at a time; the lock ends with the process, however that ends."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / f".{recipe.kind}-{recipe.suite}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # What a killed builder left: nobody else of this kind and suite is at work now.
            for left in self._cache.glob(f".unfinished-{recipe.kind}-{recipe.suite}-*"):
                shutil.rmtree(left, ignore_errors=True)
            yield

    @contextmanager
    def _scratch(self, recipe: Recipe) -> Iterator[Path]:
        """A folder in the cache, so that the finished file is renamed and never copied."""
        folder = Path(tempfile.mkdtemp(prefix=f".unfinished-{recipe.kind}-{recipe.suite}-", dir=self._cache))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def build_rootfs(target: Path, recipe: Recipe, overlay: Path) -> None:
    """Make a root file system (tar) by mmdebstrap: as root, or in its unshare mode as a user."""
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--format=tar",
        f"--include={','.join(recipe.packages)}",
        *(f"--aptopt={option}" for option in recipe.apt.options),
        f"--customize-hook=tar-in {shlex.quote(str(overlay))} /",
        f'--customize-hook=chroot "$1" /bin/sh -eu -c {shlex.quote(recipe.filled(recipe.script))}',
        recipe.suite,
        str(target),
        *recipe.apt.sources,
    ]
    # Root's PATH may come from a user's shell, without the sbin folders that debootstrapping needs.
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    run(command, f"Debian {recipe.suite} could not be built", env={**os.environ, "PATH": path})


@dataclass(frozen=True)
class Layout:
    """What a card holds.

    Attributes:
        disk_id: the MBR's disk signature, 8 hex digits.
        label: of the boot partition.
        boot: the files of the boot partition.
        root: tars that make the root file system, each with the members to take; none means all.
    """

    disk_id: str
    label: str
    boot: Mapping[str, bytes]
    root: Sequence[tuple[Path, Sequence[str]]]


def write_card(target: Path, layout: Layout, scratch: Path) -> None:
    """Lay out a card: MBR, FAT32 boot partition, ext4 root partition with the bytes of the root file system.

    Needs no root: the ext4 file system is filled by mke2fs from an unpacked tree, whose owners fakeroot remembers.
    """
    tree = scratch / "root"
    tree.mkdir()
    used = sum(tar.stat().st_size for tar, members in layout.root if not members)
    # Room for ext4's own tables and for what a package or two add; on a board the first boot grows it to the card.
    root_size = -(-(used + used // 5 + 96 * MIB) // (4 * MIB)) * 4 * MIB
    root_start = BOOT_START + BOOT_SIZE
    with target.open("wb") as image:
        image.truncate(root_start + root_size)
    table = (
        f"label: dos\nlabel-id: 0x{layout.disk_id}\n"
        f"start={BOOT_START // SECTOR}, size={BOOT_SIZE // SECTOR}, type=c\n"
        f"start={root_start // SECTOR}, size={root_size // SECTOR}, type=83\n"
    )
    run(["sfdisk", "--quiet", str(target)], "The partition table could not be written", text=table)
    _write_boot(target, layout, scratch)
    unpack = "tar --extract --preserve-permissions --numeric-owner --xattrs --xattrs-include='*'"
    script = [
        shlex.join(["cd", str(tree)]),
        *(f"{unpack} --file {shlex.join([str(tar.resolve()), *members])}" for tar, members in layout.root),
        'mke2fs -q -F -t ext4 -L rootfs -d . -E "offset=$1,nodiscard" "$2" "$3"',
    ]
    words = ["; ".join(script), "sh", str(root_start), str(target.resolve()), f"{root_size // 1024}k"]
    fake = [] if os.geteuid() == 0 else ["fakeroot", "--"]
    run([*fake, "sh", "-euc", *words], "The root partition could not be filled")
    shutil.rmtree(tree, ignore_errors=True)


def _write_boot(target: Path, layout: Layout, scratch: Path) -> None:
    offset = ["--offset", str(BOOT_START // SECTOR)]
    blocks = str(BOOT_SIZE // 1024)
    run(
        ["mkfs.vfat", "-F", "32", "-s", "1", "-n", layout.label, "-i", layout.disk_id, *offset, str(target), blocks],
        "The boot partition could not be made",
    )
    folder = scratch / "boot"
    folder.mkdir()
    for name, content in layout.boot.items():
        (folder / name).write_bytes(content)
    files = sorted(str(path) for path in folder.iterdir())
    run(["mcopy", "-i", f"{target}@@{BOOT_START}", *files, "::"], "The boot partition could not be filled")


def run(command: list[str], failed: str, *, text: str = "", env: dict[str, str] | None = None) -> None:
    """Run a builder's program.

    Raises:
        LabError: it is missing, or ended badly; with the last line that it said.
    """
    path = (env or os.environ).get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, env={**(env or os.environ), "PATH": path}
        )
    except FileNotFoundError as error:
        raise LabError(f"{failed}: there is no {command[0]}; molecule/lab/host-setup installs it.") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in said if line.startswith(("E:", "Err:"))), said[-1] if said else "")
        raise LabError(f"{failed}: {reason.strip() or f'{command[0]} ended with {done.returncode}'}")
