# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A Raspberry Pi's boot files, drop-ins and restart marker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import check_bounds
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.machine import CMDLINES, read_capabilities
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry import rules
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.boot import BootFiles
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.checks import BOUNDS
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.record import BoardRecord
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.swap import Swap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

BEFORE = ".picluster-before"
# Left behind by a call that was killed after it wrote a drop-in and before systemd loaded it.
UNREAD = "/run/picluster-raspberry-unread"


class Board:
    """A Raspberry Pi, as the module's options want it.

    Attributes:
        model: The board's model; empty on other hardware.
        restart: Whether the node is to be restarted now.
        record: What the module did to the node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._boot = BootFiles(node)
        self.model = rules.board_model([node.files.read(path) for path in rules.MODELS])
        self.restart = False
        self.record = BoardRecord(node)
        # Changes of the mark that belong to those of the boot files.
        self._planned: dict[str, Any] = {}

    def converge(self, options: dict[str, Any]) -> None:
        """Apply the module's options."""
        check_bounds(BOUNDS, options)
        packages = Packages(self._node, options["lock_timeout"])
        restart = self._add_flags() if options["cgroup_memory"] else self._remove_flags()
        self._set_gpu_memory(options["gpu_memory"])
        self._commit()
        Swap(self._node, packages, self.record).converge(options["swap"])
        self._drop_in(
            "/etc/systemd/journald.conf.d/90-picluster.conf",
            None if options["journal_size"] is None else rules.journal_text(options["journal_size"]),
            ["systemctl", "restart", "systemd-journald.service"],
        )
        if options["watchdog"] and not any(self._node.path(f"/dev/watchdog{n}").exists() for n in ("", "0")):
            self._node.warn("the kernel reports no watchdog device; the setting watchdog has no effect")
        self._drop_in(
            "/etc/systemd/system.conf.d/90-picluster.conf",
            None if options["watchdog"] is None else rules.watchdog_text(options["watchdog"]),
            ["systemctl", "daemon-reexec"],
        )
        if restart:
            self._request_restart(options["busy_units"])

    def _text(self, path: str) -> str:
        return self._node.files.read(path) or ""

    def _cmdline(self) -> tuple[str, str]:
        """Return path and text of the kernel command line's file."""
        for path in CMDLINES:
            text = self._boot.read(path)
            if text is not None:
                return path, text
        raise UserError(
            "the kernel command line is missing: found neither /boot/firmware/cmdline.txt nor /boot/cmdline.txt; mount "
            "the boot partition, or set cgroup_memory to false"
        )

    def _add_flags(self) -> bool:
        """Plan the flags in cmdline.txt if the kernel needs them; return whether a restart enables the cgroup."""
        if read_capabilities(self._node.root).memory_cgroup:
            return False
        path, text = self._cmdline()
        mark, boot, missing = self.record.mark, self._this_boot(), rules.missing_flags(text, path)
        booted = self._text("/proc/cmdline").split()
        if rules.next_step(path, written=not missing, booted=booted, boot=boot, asked=mark.asked) == "write":
            self._planned = {"flags": sorted({*mark.flags, *missing}), "asked": boot}
            self._boot.put(path + BEFORE, text)
            self._boot.put(path, rules.with_flags(text, missing, path))
        return True

    def _remove_flags(self) -> bool:
        """Plan to remove our flags from cmdline.txt, which needs no restart."""
        if self.record.mark.flags:
            path, text = self._cmdline()
            self._planned = {"flags": [], "asked": ""}
            self._boot.put(path, rules.without_flags(text, self.record.mark.flags, path))
            self._boot.put(path + BEFORE, None)
        return False

    def _set_gpu_memory(self, size: int | None) -> None:
        path = next((path for path in rules.CONFIGS if self._node.path(path).is_file()), None)
        if path is None or (size is not None and rules.shares_memory(self.model)):
            return
        names = {entry.name.lower() for entry in self._node.path(path).parent.iterdir()}  # FAT ignores case
        lacks = [] if size is None else rules.lacks_cut_down(size, names)
        if lacks:
            self._node.warn(
                f"gpu_memory is ignored: with {size} MiB the board would not boot, as {path.rpartition('/')[0]} lacks "
                f"{' and '.join(lacks)}; set it to 32 or more, or to null"
            )
            size = None
        self._boot.put(path, rules.with_gpu_memory(self._boot.read(path) or "", size))

    def _commit(self) -> None:
        """Write the boot files, which take effect at the next boot."""
        before = self.record.mark
        if self._boot.pending:
            # The restart is required first: a call that is killed after it wrote would not require it again. Likewise
            # flags are recorded before they are added, and until they are removed.
            if self._planned.get("flags"):
                self.record.keep(**self._planned)
            was_required = self.record.require_restart()
            try:
                self._boot.commit()
            except UserError:
                self.record.keep(**vars(before))
                if not was_required:
                    self.record.forget_restart()
                raise
        if self._planned:
            self.record.keep(**self._planned)

    def _drop_in(self, path: str, text: str | None, load: Sequence[str]) -> None:
        """Write a drop-in of systemd, or with None remove it, and load it."""
        unread = self._node.path(f"{UNREAD}-{path.split('/')[-2]}")
        if self._node.files.read(path) != text and not self._node.check_mode:
            unread.parent.mkdir(parents=True, exist_ok=True)
            unread.touch()
        changed = self._node.files.put(path, text)
        if unread.exists():
            if not changed:
                self._node.note(path, "not loaded", "loaded")
            self._node.change(*load)
            if not self._node.check_mode:
                unread.unlink()

    def _this_boot(self) -> str:
        """Return what distinguishes this boot from any other, also in a container, which has its host's boot_id."""
        identity = self._text("/proc/sys/kernel/random/boot_id").strip()
        # The fields after the name in brackets, which may itself hold blanks and brackets (proc(5)): 22 is the start.
        fields = self._text("/proc/1/stat").rpartition(")")[2].split()
        return f"{identity} {fields[19] if len(fields) > 19 else ''}".strip()  # noqa: PLR2004 - a field's place in its format

    def _request_restart(self, busy_units: Sequence[str]) -> None:
        """Have the node restarted for the memory cgroup: by this run, or where layers run by the reboot playbook."""
        self.record.keep(asked=self._this_boot())
        self.record.require_restart()
        states = "--state=active,activating,reloading,deactivating"
        query = ["systemctl", "list-units", "--plain", "--no-legend", states, *busy_units]
        self.restart = not (busy_units and self._node.query(*query).strip())
