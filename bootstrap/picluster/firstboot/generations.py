"""The generations of card images: one entry each, which declares how an image is recognised and prepared.

To add a generation, add its entry to GENERATIONS, a case to the tests' cases/generations.yml, and an image to
data/images.yml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError
from picluster.firstboot import NAMES, bootconfig, cmdline
from picluster.firstboot.cloudinit import NetworkdCloudInit, NetworkManagerCloudInit
from picluster.firstboot.firstrun import FirstRun
from picluster.firstboot.initscript import InitScript

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from picluster.cards.bootfiles import BootFiles
    from picluster.firstboot import FirstBoot, NodeIdentity
    from picluster.firstboot.bootconfig import BootConfig

# What stock command lines start as process 1 to grow the root partition.
_INIT_RESIZE = "init=/usr/lib/raspi-config/init_resize.sh"
_INIT_FIRSTBOOT = "init=/usr/lib/raspberrypi-sys-mods/firstboot"
_NOT_AT_BOOT = "its boot partition is not mounted at /boot, where the script is looked for"
_OWN_SETUP = "it is set up by its own dietpi.txt"


@dataclass(frozen=True)
class Clues:
    """What tells one generation from another.

    ``released`` is the date in issue.txt (YYYY-MM-DD), empty if there is none; the tokens are the words of the kernel's
    command line, and ``config`` is what boards read.
    """

    boot: BootFiles
    released: str
    tokens: frozenset[str]
    config: BootConfig


@dataclass(frozen=True)
class Generation:
    """A family of images whose first boot is prepared in the same way.

    A generation is recognised by its file first, then by its mark, then by its date. For an image newer than all that
    is known only the file counts: marks and dates are those of old images, which newer ones may keep.

    Attributes:
        name: One word, which catalogues use too.
        adapter: How its first boot is prepared, None if it cannot be, or if nobody has tried.
        file: The file that all its images have and no others, empty if there is none.
        marked: Whether label, command line or other files identify it.
        first: Date of its first release (pi-gen's tags and release notes), empty if unknown.
        last: Date of its newest release known to this version.
        refusals: Why it cannot be prepared in the ways that are named here, as the end of a sentence.
    """

    name: str
    title: str
    adapter: FirstBoot | None
    file: str = ""
    marked: Callable[[Clues], bool] = lambda _: False
    first: str = ""
    last: str = ""
    refusals: Mapping[str, str] = field(default_factory=dict)


def _is_ubuntu(clues: Clues) -> bool:
    # A mounted folder may not have the label, so the command line counts too.
    return clues.boot.label.lower() == "system-boot" or "root=LABEL=writable" in clues.tokens


def _is_cloud_init(clues: Clues) -> bool:
    return bool(clues.released) or clues.boot.label == "bootfs"


def _is_trixie(clues: Clues) -> bool:
    return not clues.released and "resize" in clues.tokens and clues.boot.label == "bootfs"


def _is_bookworm(clues: Clues) -> bool:
    # Bullseye has the same token and was still built after Bookworm came out, so a late date decides nothing. The
    # initramfs came with Bookworm (pi-gen, config.txt).
    boot, released = clues.boot, clues.released
    initramfs = clues.config.has("auto_initramfs", "1") or not boot.has("config.txt")
    early = released < "2023-10-10" if released else boot.label == "boot"
    return _is_bullseye(clues) and initramfs and not early


def _is_bullseye(clues: Clues) -> bool:
    return _INIT_FIRSTBOOT in clues.tokens


def _is_buster(clues: Clues) -> bool:
    # Bullseye had this token until 2022-09-06; Buster was built beside it until 2023.
    return _INIT_RESIZE in clues.tokens and (not clues.released or clues.released >= "2022-09-06")


# The newest first: the first entry that fits is taken.
GENERATIONS = (
    Generation(
        "dietpi",
        "DietPi",
        None,
        file="dietpi.txt",
        marked=lambda _: True,
        refusals={"firstrun": _OWN_SETUP, "init-script": _OWN_SETUP},
    ),
    Generation(
        "ubuntu",
        "Ubuntu for Raspberry Pi",
        NetworkdCloudInit(),
        file="user-data",
        marked=_is_ubuntu,
        refusals={
            "firstrun": "its first user and its network are configured by cloud-init alone",
            "init-script": _NOT_AT_BOOT,
        },
    ),
    Generation(
        "cloud-init",
        "Raspberry Pi OS",
        NetworkManagerCloudInit(),
        # Safer than the date: images of 2025-10-01 are Trixie but came without the files.
        file="user-data",
        marked=_is_cloud_init,
        first="2025-11-24",
        last="2026-06-18",
        refusals={"init-script": _NOT_AT_BOOT},
    ),
    Generation(
        # The format after cloud-init (raspberrypi/rpi-preseed 0.1.0, a prototype), in no image of this day.
        "preseed",
        "Raspberry Pi OS with rpi-preseed.toml",
        None,
        file="rpi-preseed.toml",
        marked=lambda _: True,
    ),
    Generation(
        "trixie",
        "Raspberry Pi OS Trixie without cloud-init files",
        FirstRun(),
        marked=_is_trixie,
        first="2025-10-01",
        last="2025-10-01",
        refusals={"init-script": _NOT_AT_BOOT},
    ),
    Generation(
        "bookworm",
        "Raspberry Pi OS Bookworm",
        FirstRun(),
        marked=_is_bookworm,
        first="2023-10-10",
        last="2026-06-18",
        refusals={"init-script": _NOT_AT_BOOT},
    ),
    Generation(
        "bullseye",
        "Raspberry Pi OS Bullseye",
        FirstRun(),
        marked=_is_bullseye,
        first="2021-10-30",
        last="2024-07-05",
    ),
    Generation(
        "buster",
        "Raspberry Pi OS Buster",
        FirstRun(),
        marked=_is_buster,
        first="2019-06-20",
        last="2023-05-03",
    ),
    Generation(
        "stretch",
        "Raspbian Stretch",
        InitScript(),
        first="2017-08-16",
        last="2018-06-27",
        refusals={"firstrun": "its systemd 232 does not know systemd.run= and would stop in emergency mode"},
    ),
)
UNKNOWN = Generation("unknown", "an image of unknown kind", None)
# What a catalogue may call an image.
WORDS = (*(generation.name for generation in reversed(GENERATIONS)), UNKNOWN.name)
# Beyond this date nothing is known of what images look like.
NEWEST = max(generation.last for generation in GENERATIONS)
# The ways that may be tried on an image of unknown kind; cloud-init's needs to know which network it configures.
_SCRIPTS: Mapping[str, FirstBoot] = {adapter.name: adapter for adapter in (FirstRun(), InitScript())}


@dataclass(frozen=True)
class Recognised:
    """An image that was recognised, and how its first boot is prepared."""

    generation: Generation
    adapter: FirstBoot
    boot: BootFiles
    released: str
    config: BootConfig

    @property
    def title(self) -> str:
        """Name generation and date for people, and say if the image is newer than any known one."""
        return _title(self.generation, self.released)

    @property
    def arch(self) -> str:
        """Guess the userland's architecture: arm64 or armhf.

        The 64-bit images set arm_64bit=1 in config.txt. The 32-bit ones do not, though newer ones carry a 64-bit
        kernel too, so a kernel8.img counts only where there is no kernel for 32 bits.
        """
        kernels = self.config.kernels
        if self.config.has("arm_64bit", "1") or ("kernel8.img" in kernels and "kernel7.img" not in kernels):
            return "arm64"
        return "armhf" if kernels & {"kernel7.img", "kernel.img"} else "arm64"

    def render(self, node: NodeIdentity) -> Mapping[str, bytes]:
        """Return the files to write to the boot partition for a node, by path; all other files stay as they are."""
        return self.adapter.render(self.boot, node)


def recognise(boot: BootFiles, image: str, forced: str | None = None) -> Recognised:
    """Recognise an image and choose the way of its first boot; ``forced`` is the one that the user insists on."""
    match = re.search(r"Raspberry Pi reference (\d{4}-\d{2}-\d{2})", boot.text("issue.txt"))
    tokens = frozenset(" ".join(cmdline.read(boot).values()).split())
    clues = Clues(boot, match[1] if match else "", tokens, bootconfig.read(boot))
    generation = _identify(clues)
    adapter = _own(generation, clues, image) if forced is None else _forced(generation, clues, image, forced)
    return Recognised(generation, adapter, boot, clues.released, clues.config)


def _identify(clues: Clues) -> Generation:
    file = next((known.file for known in GENERATIONS if known.file and clues.boot.has(known.file)), "")
    possible = [known for known in GENERATIONS if known.file == file]
    if not file and clues.released > NEWEST:
        return UNKNOWN
    marked = next((known for known in possible if known.marked(clues)), None)
    if marked or file:
        return marked or UNKNOWN
    return next((known for known in possible if known.first and clues.released >= known.first), UNKNOWN)


def _title(generation: Generation, released: str) -> str:
    if released <= NEWEST:
        return f"{generation.title} ({released})" if released else generation.title
    return f"{generation.title} ({released}), newer than any image known to this version ({NEWEST})"


def _own(generation: Generation, clues: Clues, image: str) -> FirstBoot:
    """Return the generation's own way."""
    if generation.adapter:
        return generation.adapter
    title = _title(generation, clues.released)
    if generation.refusals:
        reason = next(iter(generation.refusals.values()))
        raise PiclusterError(f"{image} is not supported: it is {title}, and {reason}; use Raspberry Pi OS or Ubuntu")
    update = "update picluster, or " if generation.file or clues.released > NEWEST else ""
    raise PiclusterError(
        f"{image} is not recognised: it is {title}; {update}if it was made from Raspberry Pi OS, pass --firstboot"
        " firstrun (Buster or later) or --firstboot init-script (Stretch)"
    )


def _forced(generation: Generation, clues: Clues, image: str, name: str) -> FirstBoot:
    """Return the way that the user insists on."""
    if name not in NAMES:
        raise PiclusterError(f"--firstboot {name!r} is unknown: it must be one of {', '.join(NAMES)}")
    if generation.adapter and generation.adapter.name == name:
        return generation.adapter
    if name in _SCRIPTS:
        reason = generation.refusals.get(name, "")
    elif clues.boot.has("user-data"):
        reason = "its user-data of cloud-init is neither that of Raspberry Pi OS nor of Ubuntu"
    else:
        reason = "there is no user-data of cloud-init on its boot partition"
    if reason:
        title = _title(generation, clues.released)
        raise PiclusterError(f"--firstboot {name} cannot work with {image}, {title}: {reason}; omit --firstboot")
    return _SCRIPTS[name]
