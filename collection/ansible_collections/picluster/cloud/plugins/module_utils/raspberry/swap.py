# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Swap of a Raspberry Pi: compressed in memory, none, or as the image has it.

Raspberry Pi OS Trixie swaps by rpi-swap, which makes its units at boot only and requires a restart (its README);
Bookworm and older by dphys-swapfile, to a file on the card; Ubuntu not at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.rules import (
    BoardMark,
    rpi_swap_text,
    swap_file,
    swaps,
    zram_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node
    from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages

PACKAGE = "systemd-zram-generator"
DPHYS = "dphys-swapfile.service"
ZRAM_UNITS = ("dev-zram0.swap", "systemd-zram-setup@zram0.service")
ZRAM_CONF = "/etc/systemd/zram-generator.conf.d/90-picluster.conf"
GENERATOR = "/usr/lib/systemd/system-generators/rpi-swap-generator"
RPI_CONF = "/etc/rpi/swap.conf.d/90-picluster.conf"
# apt's words for a package that its lists lack.
_UNKNOWN = ("Unable to locate package", "has no installation candidate")
# mkswap(8): the end of the first page.
_SIGNATURE, _SIGNATURE_AT = b"SWAPSPACE2", 4086


class Swap:
    """The node's swap."""

    def __init__(
        self,
        node: Node,
        packages: Packages,
        keep: Callable[[BoardMark], None],
        require_restart: Callable[[], object],
    ) -> None:
        """Prepare.

        Args:
            node: The node.
            packages: Its packages.
            keep: Writes a mark; called before the change that the mark names.
            require_restart: Called before a change that takes effect at the next boot.
        """
        self._node = node
        self._packages = packages
        self._keep = keep
        self._require_restart = require_restart

    def converge(self, desired: str, mark: BoardMark) -> BoardMark:
        """Bring the swap to the desired state.

        Args:
            desired: `zram`, `none` or `image`.
            mark: What was done to the node so far.

        Returns:
            The mark as it is now.

        Raises:
            UserError: A program refuses; the message has its words.
        """
        if self._node.path(GENERATOR).exists():
            self._set_rpi_swap(desired)
            return mark
        # First the new swap, so that the content of the old one has a place to go.
        mark = self._add_zram(mark) if desired == "zram" else self._remove_zram(mark)
        return self._restore_file(mark) if desired == "image" else self._remove_file(mark)

    def _in_use(self) -> list[str]:
        return swaps(self._node.files.read("/proc/swaps") or "")

    def _set_rpi_swap(self, desired: str) -> None:
        text = None if desired == "image" else rpi_swap_text(desired)
        if self._node.files.read(RPI_CONF) != text:
            self._require_restart()
        if text is None:
            self._node.files.remove(RPI_CONF)
        else:
            self._node.files.put(RPI_CONF, text)

    def _add_zram(self, mark: BoardMark) -> BoardMark:
        if self._node.files.read(ZRAM_CONF) is None and any("/zram" in name for name in self._in_use()):
            # Not ours, and just as good.
            return mark
        if not self._kernel_has_zram():
            self._node.warn("this node's kernel has no zram of its own; the node has no swap")
            return mark
        if self._packages.missing([PACKAGE]):
            before, found = mark, list(self._node.diff)
            mark = replace(mark, packages=[PACKAGE])
            self._keep(mark)
            if not self._install():
                self._keep(before)
                self._node.diff[:] = found
                return before
        self._start_zram(changed=self._node.files.put(ZRAM_CONF, zram_text()))
        return mark

    def _install(self) -> bool:
        """Install the generator; return whether this release has it."""
        try:
            self._packages.install([PACKAGE])
        except UserError as error:
            if not any(words in str(error) for words in _UNKNOWN):
                raise
            self._node.warn(f"this release has no package {PACKAGE}; the node has no swap")
            return False
        return True

    def _kernel_has_zram(self) -> bool:
        """Return whether the kernel has zram and is this node's own: a container's swap would be its host's."""
        if self._node.run("systemd-detect-virt", "--quiet", "--container").ok:
            return False
        if any(self._node.path(path).exists() for path in ("/sys/class/zram-control", "/sys/block/zram0")):
            return True
        return self._node.run("modinfo", "--field", "name", "zram").ok

    def _start_zram(self, *, changed: bool) -> None:
        active = "/dev/zram0" in self._in_use()
        if active and not changed:
            return
        self._node.note(ZRAM_UNITS[0], "", "active")
        self._node.units.reload_daemon()
        if active:
            self._node.change("systemctl", "stop", *ZRAM_UNITS)
        self._node.change("systemctl", "start", ZRAM_UNITS[0])

    def _remove_zram(self, mark: BoardMark) -> BoardMark:
        """Remove our zram; another one stays."""
        if self._node.files.remove(ZRAM_CONF):
            self._node.change("systemctl", "stop", *ZRAM_UNITS)
            self._node.units.reload_daemon()
        if mark.packages:
            self._packages.remove(self._packages.installed(mark.packages))
            if not self._node.check_mode:
                mark = replace(mark, packages=[])
                self._keep(mark)
        return mark

    def _dphys(self) -> dict[str, str]:
        unit = self._node.units.show(DPHYS)[DPHYS]
        return unit if unit["LoadState"] in {"loaded", "masked"} else {}

    def _restore_file(self, mark: BoardMark) -> BoardMark:
        """Enable the swap file on the card again if we disabled it."""
        if not mark.swap_file:
            return mark
        if unit := self._dphys():
            self._node.units.enable(DPHYS, unit)
            self._node.units.start(DPHYS, unit)
        mark = replace(mark, swap_file=False)
        self._keep(mark)
        return mark

    def _remove_file(self, mark: BoardMark) -> BoardMark:
        """Disable the swap file on the card, and delete it."""
        state = self._dphys().get("UnitFileState", "")
        if state not in {"", "disabled", "masked"}:
            if not self._node.check_mode:
                mark = replace(mark, swap_file=True)
                self._keep(mark)
            self._node.units.disable(DPHYS)
        if mark.swap_file or (self._node.check_mode and state == "enabled"):
            self._delete_file()
        return mark

    def _delete_file(self) -> None:
        """Delete the swap file that is no longer used; a file that is not swap stays."""
        path = swap_file(self._node.files.read("/etc/dphys-swapfile"))
        place = self._node.path(path)
        if not place.is_file():
            return
        if not self._node.check_mode and path in self._in_use():
            self._node.warn(
                f"{path} is still in use, as its content does not fit into memory; the first run after a restart "
                "deletes it"
            )
            self._require_restart()
            return
        with place.open("rb") as stream:
            stream.seek(_SIGNATURE_AT)
            if stream.read(len(_SIGNATURE)) != _SIGNATURE:
                return
        self._node.note(path, f"{place.stat().st_size >> 20} MiB of swap", "")
        if not self._node.check_mode:
            place.unlink()
