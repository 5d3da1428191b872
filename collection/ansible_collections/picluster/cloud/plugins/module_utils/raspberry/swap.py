# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Swap of a Raspberry Pi: compressed in memory, none, or as the image has it.

Raspberry Pi OS Trixie swaps by rpi-swap, which makes its units at boot only and asks for a restart (its README);
Bookworm and older by dphys-swapfile, to a file on the card; Ubuntu not at all.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles, read_text
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.rules import (
    Mark,
    rpi_swap_text,
    swap_file,
    swaps,
    zram_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.picluster.cloud.plugins.module_utils.node.old_packages import Apt

PACKAGE = "systemd-zram-generator"
DPHYS = "dphys-swapfile.service"
UNITS = ("dev-zram0.swap", "systemd-zram-setup@zram0.service")
# apt's words for a package that its lists do not have.
_UNKNOWN = ("Unable to locate package", "has no installation candidate")
# mkswap(8): the end of the first page.
_SIGNATURE, _SIGNATURE_AT = b"SWAPSPACE2", 4086


class Swap:
    """The node's swap."""

    def __init__(self, module: AnsibleModule, files: TextFiles, apt: Apt, root: Path = Path("/")) -> None:
        self._module = module
        self._files = files
        self._apt = apt
        self._root = root

    def _path(self, path: str) -> str:
        return str(self._root / path.lstrip("/"))

    def _note(self, what: str, before: str, after: str) -> None:
        headers = {"before_header": what, "after_header": what}
        self._files.diff.append({**headers, "before": before, "after": after})

    def _run(self, *command: str) -> str:
        rc, out, err = self._module.run_command(list(command))
        if rc != 0:
            raise ValueError(f"{' '.join(command)} failed: {' '.join((err or out).split())}")
        return str(out)

    def _in_use(self) -> list[str]:
        return swaps(read_text(self._path("/proc/swaps")) or "")

    def converge(
        self, wanted: str, mark: Mark, keep: Callable[[Mark], None], require_restart: Callable[[], object]
    ) -> Mark:
        """Bring the swap to what is wanted.

        Args:
            wanted: `zram`, `none` or `image`.
            mark: what was done to the node so far.
            keep: writes a mark down; called before what it tells of is done.
            require_restart: called before something is done that counts from the node's next start on.

        Returns:
            The mark as it is now.

        Raises:
            ValueError: a program refuses; the message has its words.
            OSError: a file cannot be written.
        """
        if Path(self._path("/usr/lib/systemd/system-generators/rpi-swap-generator")).exists():
            self._by_rpi_swap(wanted, require_restart)
            return mark
        # First the new swap, so that what is in the old one has a place to go.
        mark = self._zram(mark, keep) if wanted == "zram" else self._no_zram(mark, keep)
        return self._card(wanted, mark, keep, require_restart)

    def _by_rpi_swap(self, wanted: str, require_restart: Callable[[], object]) -> None:
        path = self._path("/etc/rpi/swap.conf.d/90-picluster.conf")
        text = None if wanted == "image" else rpi_swap_text(wanted)
        if read_text(path) != text:
            require_restart()
        if text is None:
            self._files.remove(path)
        else:
            self._files.put(path, text)

    @property
    def _conf(self) -> str:
        return self._path("/etc/systemd/zram-generator.conf.d/90-picluster.conf")

    def _zram(self, mark: Mark, keep: Callable[[Mark], None]) -> Mark:
        if read_text(self._conf) is None and any("/zram" in name for name in self._in_use()):
            # Somebody else's, which does what is wanted.
            return mark
        if not self._kernel_can():
            self._module.warn("this node has no zram of its own, so that it is left without swap")
            return mark
        if not self._apt.installed([PACKAGE]):
            before, found = mark, list(self._files.diff)
            mark = replace(mark, packages=[PACKAGE])
            self._note("packages", "", PACKAGE)
            keep(mark)
            if not self._install():
                keep(before)
                self._files.diff[:] = found
                return before
        self._start(fresh=self._files.put(self._conf, zram_text()))
        return mark

    def _install(self) -> bool:
        """Install the generator; say whether this release has it."""
        if self._module.check_mode:
            return True
        try:
            self._apt.install([PACKAGE], optional=set())
        except ValueError as error:
            if not any(words in str(error) for words in _UNKNOWN):
                raise
            self._module.warn(f"this release has no {PACKAGE}, so that the node is left without swap")
            return False
        return True

    def _kernel_can(self) -> bool:
        """Whether the kernel has zram, and is this node's: swap of a container would be its host's."""
        rc, _out, _err = self._module.run_command(["systemd-detect-virt", "--quiet", "--container"])
        if rc == 0:
            return False
        if any(Path(self._path(there)).exists() for there in ("/sys/class/zram-control", "/sys/block/zram0")):
            return True
        rc, _out, _err = self._module.run_command(["modinfo", "--field", "name", "zram"])
        return bool(rc == 0)

    def _start(self, *, fresh: bool) -> None:
        if "/dev/zram0" in self._in_use() and not fresh:
            return
        self._note(UNITS[0], "", "active\n")
        if self._module.check_mode:
            return
        self._run("systemctl", "daemon-reload")
        if "/dev/zram0" in self._in_use():
            self._run("systemctl", "stop", *UNITS)
        self._run("systemctl", "start", UNITS[0])

    def _no_zram(self, mark: Mark, keep: Callable[[Mark], None]) -> Mark:
        """Take our zram away; another's stays."""
        if self._files.remove(self._conf) and not self._module.check_mode:
            self._run("systemctl", "stop", *UNITS)
            self._run("systemctl", "daemon-reload")
        gone = self._apt.installed(mark.packages) if mark.packages else []
        if gone:
            self._note("packages", " ".join(gone), "")
            if not self._module.check_mode:
                self._apt.remove(gone)
        if mark.packages and not self._module.check_mode:
            mark = replace(mark, packages=[])
            keep(mark)
        return mark

    def _card(
        self, wanted: str, mark: Mark, keep: Callable[[Mark], None], require_restart: Callable[[], object]
    ) -> Mark:
        """Switch the swap file on the card off, or on again if it was us who switched it off."""
        state = self._dphys()
        if wanted == "image":
            if mark.swap_file:
                if state:
                    self._note(DPHYS, f"{state}\n", "enabled\n")
                    if not self._module.check_mode:
                        self._run("systemctl", "enable", DPHYS)
                        self._run("systemctl", "start", DPHYS)
                mark = replace(mark, swap_file=False)
                keep(mark)
            return mark
        if state not in {"", "disabled", "masked"}:
            if not self._module.check_mode:
                mark = replace(mark, swap_file=True)
                keep(mark)
            self._note(DPHYS, f"{state}\n", "disabled\n")
            if not self._module.check_mode:
                self._run("systemctl", "disable", "--now", DPHYS)
        if mark.swap_file or (self._module.check_mode and state == "enabled"):
            self._forget_file(require_restart)
        return mark

    def _dphys(self) -> str:
        """Return whether dphys-swapfile is enabled, in systemd's word; empty if there is none."""
        out = self._run("systemctl", "show", DPHYS, "--property=LoadState,UnitFileState")
        unit = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        return unit.get("UnitFileState", "") if unit.get("LoadState") in {"loaded", "masked"} else ""

    def _forget_file(self, require_restart: Callable[[], object]) -> None:
        """Remove the swap file that nobody uses any more; what is no swap file stays."""
        path = Path(self._path(swap_file(read_text(self._path("/etc/dphys-swapfile")))))
        if not path.is_file():
            return
        if not self._module.check_mode and str(path) in self._in_use():
            self._module.warn(
                f"{path} is still in use, as what is in it does not fit into memory: it goes at the first run after a "
                "restart"
            )
            require_restart()
            return
        with path.open("rb") as stream:
            stream.seek(_SIGNATURE_AT)
            if stream.read(len(_SIGNATURE)) != _SIGNATURE:
                return
        self._note(str(path), f"{path.stat().st_size >> 20} MiB of swap\n", "")
        if not self._module.check_mode:
            path.unlink()
