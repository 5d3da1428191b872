"""The generations of images: their cards as data, and the systems that start from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lab import recipe
from lab.errors import LabError
from lab.recipe import Recipe, apt_of_host

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lab.image import Builder
    from lab.report import Reporter

HERE = Path(__file__).parent
SYSTEMS = HERE / "systems"
CARDS = HERE.parents[1] / "bootstrap" / "tests" / "cases" / "generations.yml"
STOCK_BOOT = HERE.parent / "lab" / "card" / "boot"

_BASE = (
    "dbus",
    "e2fsprogs",
    "iproute2",
    "kmod",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)


@dataclass(frozen=True)
class Generation:
    """One generation of stock images: an entry of generations.yml, which describes the fields, with its card's."""

    name: str
    what: str
    label: str
    issue: str
    cmdline: str
    system: str
    starts: int
    client: str
    id: bool
    user: str = "pi"
    wifi: bool = False
    files: Sequence[str] = ()
    stand_ins: Sequence[str] = ()

    @property
    def node(self) -> str:
        """Name of the node whose card it becomes."""
        return f"{self.name}1"

    def boot_files(self, disk_id: str) -> dict[str, bytes]:
        """The files of the stock FAT partition."""
        files = {name: (STOCK_BOOT / name).read_bytes() for name in ("config.txt", *self.files)}
        files["cmdline.txt"] = self.cmdline.replace("PARTUUID=1-", f"PARTUUID={disk_id}-").encode() + b"\n"
        files["kernel8.img"] = bytes(range(256)) * 1024
        if self.issue:
            files["issue.txt"] = f"{self.issue}\nGenerated using pi-gen, stage2\n".encode()
        return files


@dataclass(frozen=True)
class System:
    """A root file system that cards start from.

    Attributes:
        suites: Debian's releases, the best first; the next is for the day when the mirror drops one.
        boot: Where it mounts the FAT partition.
    """

    suites: tuple[str, ...]
    boot: str
    packages: tuple[str, ...]
    parts: tuple[str, ...]


_SYSTEMS = {
    "bookworm": System(("bookworm",), "/boot/firmware", ("network-manager",), ("pi",)),
    "old": System(("bullseye", "bookworm"), "/boot", ("dhcpcd5",), ("pi", "old")),
    "ubuntu": System(("trixie",), "/boot/firmware", ("cloud-init", "libnss-myhostname", "netplan.io"), ("ubuntu",)),
}


def generations() -> list[Generation]:
    """Return all of generations.yml."""
    cards = {card["what"]: card for card in yaml.safe_load(CARDS.read_text("utf-8"))}
    entries = yaml.safe_load((HERE / "generations.yml").read_text("utf-8"))
    return [_generation(entry, cards[entry.pop("card")]) for entry in entries]


def _generation(entry: dict[str, Any], card: Mapping[str, Any]) -> Generation:
    fields = {key: card[key] for key in ("label", "issue", "cmdline", "files") if key in card}
    return Generation(**{**fields, **entry})


def _recipe(kind: str, suite: str, system: System) -> Recipe:
    scripts = [(SYSTEMS / part / "customize.sh").read_text("utf-8") for part in system.parts]
    overlays = (SYSTEMS / part / "root" for part in system.parts)
    return Recipe(
        kind=kind,
        suite=suite,
        packages=(*_BASE, *system.packages),
        script="\n".join([f"BOOT={system.boot}", *scripts]),
        overlays=tuple(path for path in overlays if path.is_dir()),
        boot=None,
        apt=apt_of_host(suite),
    )


def build(name: str, builder: Builder, report: Reporter) -> tuple[Recipe, Path]:
    """Build a system.

    Returns:
        Its recipe, and its root file system.

    Raises:
        LabError: no release of Debian that would do can be had.
    """
    if name == "trixie":
        # The lab's own card.
        found = recipe.card(name, apt_of_host(name))
        return found, builder.rootfs(found)
    system = _SYSTEMS[name]
    for suite in system.suites[:-1]:
        found = _recipe(name, suite, system)
        try:
            return found, builder.rootfs(found)
        except LabError as error:
            report.line(f"{error} Going on with {system.suites[-1]}.")
    found = _recipe(name, system.suites[-1], system)
    return found, builder.rootfs(found)


def stand_ins(names: Sequence[str]) -> bytes:
    """A tar of stand-ins to put over a root file system."""
    # On every card: no search for LVM's snapshots and for modules that the boards' kernel does not have. A fifth of a
    # start's CPU time went there, and nothing of a first boot depends on it.
    folders = tuple(SYSTEMS / name / "root" for name in ("every", *names))
    return Recipe("stand-ins", "", (), "", folders, None, recipe.Apt()).overlay()


def board() -> Recipe:
    """The system that plays the boards: user-mode Linux and the firmware.

    Raises:
        LabError: this machine's packages cannot be told.
    """
    folder = SYSTEMS / "board"
    suite = "bookworm"
    return Recipe(
        kind="board",
        suite=suite,
        packages=("busybox", "iproute2", "mtools", "tcc", "user-mode-linux"),
        script=(folder / "customize.sh").read_text("utf-8"),
        overlays=(folder / "root",),
        boot=None,
        apt=apt_of_host(suite),
    )
