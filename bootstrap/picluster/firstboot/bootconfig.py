"""What boards read from a boot partition: config.txt, as their firmware reads it.

Sources: raspberrypi/documentation, config_txt/boot.adoc (cmdline, os_prefix), conditional.adoc and autoboot.adoc;
Ubuntu's A/B boot (piboot-try, from 25.10 on) has its kernel and command line below ``os_prefix=current/``.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from picluster.cards.bootfiles import BootFiles

# The model filters that hold for each board: a card may be put into any of them.
_BOARDS = (
    frozenset({"pi1"}),
    frozenset({"cm1"}),
    frozenset({"pi0"}),
    frozenset({"pi0", "pi0w"}),
    frozenset({"pi0", "pi0w", "pi02"}),
    frozenset({"pi2"}),
    frozenset({"pi3"}),
    frozenset({"pi3", "cm3"}),
    frozenset({"pi3", "pi3+"}),
    frozenset({"pi3", "pi3+", "cm3+"}),
    frozenset({"pi4"}),
    frozenset({"pi4", "pi400"}),
    frozenset({"pi4", "cm4"}),
    frozenset({"pi4", "cm4s"}),
    frozenset({"pi5"}),
    frozenset({"pi5", "pi500"}),
    frozenset({"pi5", "cm5"}),
)
_MODELS = frozenset[str]().union(*_BOARDS) | {"none"}
_KERNELS = ("kernel.img", "kernel7.img", "kernel7l.img", "kernel8.img", "kernel_2712.img")
# Fit for a path on FAT, and for a shell without quotes.
_PATH = re.compile(r"[A-Za-z0-9._+/-]+")


class _Reading:
    """One board's way through config.txt.

    Filters of one kind replace each other, those of different kinds must all hold, and [all] ends them. Whether a
    filter on a serial number, a pin or a display holds is not known: it is assumed to, or not, as ``others`` says. The
    first boot is no tryboot.
    """

    def __init__(self, boot: BootFiles, board: frozenset[str], *, others: bool) -> None:
        self.settings: dict[str, str] = {}
        self._boot = boot
        self._board = board
        self._others = others
        self._filters: dict[str, bool] = {}

    def read(self, name: str, above: tuple[str, ...] = ()) -> dict[str, str]:
        for line in map(str.strip, self._boot.text(name).splitlines()):
            if line.startswith("[") and line.endswith("]"):
                self._filter(line[1:-1])
            elif line.startswith("#") or not all(self._filters.values()):
                continue
            elif line.startswith("include "):
                file = line.removeprefix("include ").strip()
                if file not in (name, *above):
                    self.read(file, (name, *above))
            elif "=" in line:
                key, _, value = line.partition("=")
                self.settings[key.strip()] = value.partition("#")[0].strip()
        return self.settings

    def _filter(self, name: str) -> None:
        if name == "all":
            self._filters.clear()
        elif name in _MODELS:
            self._filters["model"] = name in self._board
        elif name == "tryboot":
            self._filters["tryboot"] = False
        else:
            # [EDID=...], [gpio4=1], [board-type=0x14], [0x1234abcd]
            self._filters[re.sub(r"^0x.*|[\d:=].*", "", name)] = self._others


@dataclass(frozen=True)
class BootConfig:
    """What boards read.

    Attributes:
        cmdlines: Paths of the kernel's command lines, one for most images: boards may differ.
        kernels: The names of kernels that are where boards look for them.
    """

    cmdlines: tuple[str, ...]
    kernels: frozenset[str]
    settings: tuple[Mapping[str, str], ...]

    def has(self, key: str, value: str) -> bool:
        """Return whether a setting has this value for some board."""
        return any(found.get(key) == value for found in self.settings)


def read(boot: BootFiles) -> BootConfig:
    """Return what boards read; refuse what makes them start from another partition."""
    found = _each(boot, "config.txt")
    for autoboot in _each(boot, "autoboot.txt"):
        partition = autoboot.get("boot_partition", "")
        if partition not in {"", "0", "1"}:
            raise PiclusterError(
                f"autoboot.txt on the boot partition makes boards start from partition {partition}: picluster prepares"
                " the first one; use an image that starts from it"
            )
    prefixes = {_prefix(boot, settings) for settings in found}
    cmdlines = dict.fromkeys(
        _path(_prefix(boot, settings), settings.get("cmdline") or "cmdline.txt") for settings in found
    )
    kernels = frozenset(kernel for kernel in _KERNELS for prefix in prefixes if boot.has(_path(prefix, kernel)))
    return BootConfig(tuple(cmdlines), kernels, tuple(found))


def _each(boot: BootFiles, name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for board in _BOARDS:
        for others in (False, True):
            settings = _Reading(boot, board, others=others).read(name)
            if settings not in found:
                found.append(settings)
    return found


def _prefix(boot: BootFiles, settings: Mapping[str, str]) -> str:
    """Return os_prefix; empty if the firmware ignores it because a kernel or device tree is missing there."""
    prefix = settings.get("os_prefix", "")
    kernels = [settings["kernel"]] if settings.get("kernel") else _KERNELS
    trees = (name for name in boot.names if name.startswith(prefix) and name.endswith(".dtb"))
    kernel = any(boot.has(_path(prefix, name)) for name in kernels)
    return prefix if kernel and any("/" not in name.removeprefix(prefix) for name in trees) else ""


def _path(prefix: str, name: str) -> str:
    """Return where the firmware looks for a file: below the prefix, unless the name begins with a slash."""
    path = posixpath.normpath(name if name.startswith("/") else prefix + name).lstrip("/")
    if not _PATH.fullmatch(path) or path.startswith(".."):
        raise PiclusterError(f"config.txt on the boot partition names a file {path!r}: correct its name in the image")
    return path
