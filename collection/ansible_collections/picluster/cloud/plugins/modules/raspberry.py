#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What a Raspberry Pi needs beside any other node: kernel flags, memory, swap, logs, watchdog."""

from __future__ import annotations

DOCUMENTATION = r"""
module: raspberry
short_description: What a Raspberry Pi needs beside any other node
description:
  - Has the kernel's memory cgroup on, which Raspberry Pi's kernels leave off and Kubernetes and Docker's limits need;
    by flags in the line of C(cmdline.txt) and only where it is really off. Says whether the node is to be restarted
    for that, never twice for one change. C(cmdline.txt.picluster-before) keeps the former line.
  - Bounds the memory of the GPU in C(config.txt), takes the swap off the card, bounds the journal and has systemd feed
    the board's watchdog.
  - Changes nothing on what is not a Raspberry Pi.
  - Boot files are replaced together; if one does not fit onto the partition, none is changed.
  - Keeps in C(/var/lib/picluster/raspberry) what it did, to take it back when an option says so.
version_added: 0.1.0
options:
  cgroup_memory:
    description: Whether the kernel is to have the memory cgroup. V(false) takes back the flags that this module added.
    type: bool
    default: true
  gpu_memory:
    description:
      - Memory of the GPU in MiB, 16 to 944, from the next start on; if left out, the image's. On a Pi 5, which
        ignores it, nothing is written.
      - V(16) is left out, with a warning, where the partition lacks the firmware that the board loads for it.
    type: int
  swap:
    description:
      - V(zram) compresses in memory, V(none) is no swap at all, V(image) is what the image has.
      - With the first two the swap file of C(dphys-swapfile) is removed, and C(rpi-swap) is told so, which it heeds
        from the next start on.
    type: str
    choices: [zram, none, image]
    default: image
  journal_size:
    description:
      - Bound of the journal on the card in MiB, 8 to 4096; a quarter of it where the journal is kept in memory. If left
        out, the image's.
    type: int
  watchdog:
    description:
      - Seconds, 5 to 3600, after which the board restarts a system that hangs; V(0) for never. If left out, the
        image's. Boards hold up to 15 by themselves.
    type: int
  busy_units:
    description: Units, with stars if need be. While one of them is up, the node is not to be restarted by this run.
    type: list
    elements: str
    default: []
  lock_timeout:
    description: Seconds to wait for another program that holds the package database.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
    description: Says what would change and whether the node would be restarted, and changes nothing.
  diff_mode:
    support: full
    description: Shows the files before and after.
  idempotent:
    support: full
    description: A second call changes nothing.
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Make the best of a Raspberry Pi
  picluster.cloud.raspberry:
    gpu_memory: 16
    swap: zram
    journal_size: 64
    watchdog: 15
    busy_units: [docker.service, "k3s*.service"]
  register: board

- name: Restart it if the kernel is to see new flags
  ansible.builtin.reboot:
  when: board.restart
"""

RETURN = r"""
board:
  description: The board's model; empty on what is not a Raspberry Pi.
  returned: success
  type: str
  sample: Raspberry Pi 4 Model B Rev 1.4
restart:
  description: Whether the node is to be restarted now. Not while one of O(busy_units) is up.
  returned: success
  type: bool
restart_pending:
  description: Whether something that was changed counts from the next start on; C(/run/reboot-required) says so too.
  returned: success
  type: bool
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.node.commands import run_checked
from ansible_collections.picluster.cloud.plugins.module_utils.node.machine import read_machine
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles, card_trouble, read_text
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_packages import Apt
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry import rules
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.boot_files import BootFiles, read_exactly
from ansible_collections.picluster.cloud.plugins.module_utils.raspberry.swap import Swap

MARK = "/var/lib/picluster/raspberry"
BEFORE = ".picluster-before"
REQUIRED = "/run/reboot-required"
NAME = "picluster-raspberry"
# Left behind by a call that was cut off between a drop-in and its being read.
UNREAD = "/run/picluster-raspberry-unread"


class Board:
    """A Raspberry Pi's files and services."""

    def __init__(self, module: AnsibleModule, root: Path = Path("/")) -> None:
        self._module = module
        self._root = root
        self.files = TextFiles(module)
        self.restart = False
        self.pending = False
        self._boot = BootFiles(module, self.files)
        self._mark = rules.read_mark(read_text(self._path(MARK)))
        self._planned = self._mark

    def _path(self, path: str) -> str:
        return str(self._root / path.lstrip("/"))

    def _text(self, path: str) -> str:
        return read_text(self._path(path)) or ""

    def _run(self, *command: str) -> str:
        return run_checked(self._module, *command)

    @property
    def model(self) -> str:
        """The board's model; empty on what is not a Raspberry Pi."""
        return rules.board_model([read_text(self._path(path)) for path in rules.MODELS])

    def _keep(self, mark: rules.Mark) -> None:
        self._mark = mark
        if mark == rules.Mark():
            self.files.remove(self._path(MARK))
        else:
            self.files.put(self._path(MARK), mark.text(), 0o600)

    def converge(self) -> None:
        """Bring the board to what the options say.

        Raises:
            ValueError: it cannot be done; the message is one sentence.
            OSError: a file cannot be written.
        """
        params = self._module.params
        for name in ("gpu_memory", "journal_size", "watchdog"):
            if params[name] is not None:
                rules.check_bounds(name, params[name])
        step = self._cgroups() if params["cgroup_memory"] else self._without_flags()
        self._gpu(params["gpu_memory"])
        self._commit()
        swap = Swap(self._module, self.files, Apt(self._module, params["lock_timeout"]), self._root)
        swap.converge(params["swap"], self._mark, self._keep, self._require_restart)
        self._drop_in(
            "/etc/systemd/journald.conf.d/90-picluster.conf",
            None if params["journal_size"] is None else rules.journal_text(params["journal_size"]),
            ["systemctl", "restart", "systemd-journald.service"],
        )
        if params["watchdog"] and not any(Path(self._path(f"/dev/watchdog{n}")).exists() for n in ("", "0")):
            self._module.warn("this board has no watchdog that its kernel knows of, so that none watches over it")
        self._drop_in(
            "/etc/systemd/system.conf.d/90-picluster.conf",
            None if params["watchdog"] is None else rules.watchdog_text(params["watchdog"]),
            ["systemctl", "daemon-reexec"],
        )
        if step != "nothing":
            self._ask_for_restart()

    def _cmdline(self) -> tuple[str, str]:
        """Return path and text of the file that the kernel's words are read from.

        Raises:
            ValueError: there is none.
        """
        for path in rules.CMDLINES:
            text = read_exactly(self._path(path))
            if text is not None:
                return self._path(path), text
        raise ValueError(
            "there is neither /boot/firmware/cmdline.txt nor /boot/cmdline.txt: mount the boot partition, or set "
            "raspberry_cgroup_memory to false"
        )

    def _cgroups(self) -> str:
        """Have the flags in cmdline.txt if the kernel needs them; return what next_step says."""
        if read_machine(self._root).memory_cgroup:
            return "nothing"
        path, text = self._cmdline()
        missing = rules.missing_flags(text, path)
        booted = self._text("/proc/cmdline").split()
        state = rules.Cgroups(path, not missing, booted, self._this_boot(), self._mark.asked)
        step = rules.next_step(state)
        if step == "write":
            self._planned = replace(self._mark, flags=sorted({*self._mark.flags, *missing}), asked=state.boot)
            self._boot.want(path + BEFORE, text)
            self._boot.want(path, rules.with_flags(text, missing, path))
        return step

    def _without_flags(self) -> str:
        if self._mark.flags:
            path, text = self._cmdline()
            self._planned = replace(self._mark, flags=[], asked="")
            self._boot.want(path, rules.without_flags(text, self._mark.flags, path))
            self._boot.want(path + BEFORE, None)
        return "nothing"

    def _gpu(self, size: int | None) -> None:
        path = next((path for path in map(self._path, rules.CONFIGS) if Path(path).is_file()), None)
        if path is None:
            return
        if size is not None and rules.shares_memory(self.model):
            return
        folder = Path(path).parent
        names = {entry.name.lower() for entry in folder.iterdir()}  # as FAT means them
        lacks = [] if size is None else rules.lacks_cut_down(size, names)
        if lacks:
            self._module.warn(
                f"gpu_memory {size} is left out, as the board would not start: {folder} lacks {' and '.join(lacks)}; "
                "set raspberry_gpu_memory to 32 or more, or to null"
            )
            size = None
        self._boot.want(path, rules.with_gpu_memory(read_exactly(path) or "", size))

    def _commit(self) -> None:
        """Write the boot files, whose change counts from the next start on."""
        before = self._mark
        if self._boot.pending:
            # Said first: a call that is cut off after it wrote would not say it again. Likewise what is added is
            # noted before, and what is taken back is noted until it is gone.
            if self._planned.flags:
                self._keep(self._planned)
            was_required = self._require_restart()
            try:
                self._boot.commit()
            except OSError:
                if before != self._mark:
                    self._keep(before)
                if not was_required:
                    self._forget_restart()
                raise
        if self._planned != self._mark:
            self._keep(self._planned)

    def _drop_in(self, path: str, text: str | None, read_again: list[str]) -> None:
        """Have a drop-in of systemd hold a text, or be gone, and in force."""
        path = self._path(path)
        unread = Path(self._path(f"{UNREAD}-{Path(path).parent.name}"))
        if read_text(path) != text and not self._module.check_mode:
            unread.parent.mkdir(parents=True, exist_ok=True)
            unread.touch()
        changed = self.files.remove(path) if text is None else self.files.put(path, text)
        if unread.exists():
            if not changed:
                self.files.diff.append(
                    {"before_header": path, "after_header": path, "before": "unread\n", "after": "read\n"}
                )
            if not self._module.check_mode:
                self._run(*read_again)
                unread.unlink()

    def _this_boot(self) -> str:
        """Return what tells this start from any other, in a container too, which has its host's boot_id."""
        identity = self._text("/proc/sys/kernel/random/boot_id").strip()
        # The fields after the name in brackets, which may itself hold blanks and brackets (proc(5)): 22 is the start.
        fields = self._text("/proc/1/stat").rpartition(")")[2].split()
        return f"{identity} {fields[19] if len(fields) > 19 else ''}".strip()  # noqa: PLR2004 - a field's place in its format

    def _ask_for_restart(self) -> None:
        """Have the node restarted for the memory cgroup: by this run, or where layers are up by who drains them."""
        boot = self._this_boot()
        if self._mark.asked != boot:
            self._keep(replace(self._mark, asked=boot))
        self._require_restart()
        self.restart = not self._busy()

    def _busy(self) -> bool:
        units = self._module.params["busy_units"]
        if not units:
            return False
        states = "--state=active,activating,reloading,deactivating"
        return bool(self._run("systemctl", "list-units", "--plain", "--no-legend", states, *units).strip())

    def _require_restart(self) -> bool:
        """Say to whoever restarts nodes that this one is waiting for it; return whether it was before."""
        if self.pending:
            return True
        self.pending = True
        packages = self._text(f"{REQUIRED}.pkgs").splitlines()
        required = Path(self._path(REQUIRED)).exists() and NAME in packages
        if not required:
            self.files.put(
                self._path(f"{REQUIRED}.pkgs"), "".join(f"{name}\n" for name in dict.fromkeys([*packages, NAME]))
            )
            self.files.put(self._path(REQUIRED), "*** System restart required ***\n")
        return required

    def _forget_restart(self) -> None:
        packages = [name for name in self._text(f"{REQUIRED}.pkgs").splitlines() if name != NAME]
        if packages:
            self.files.put(self._path(f"{REQUIRED}.pkgs"), "".join(f"{name}\n" for name in packages))
        else:
            self.files.remove(self._path(f"{REQUIRED}.pkgs"))
            self.files.remove(self._path(REQUIRED))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "cgroup_memory": {"type": "bool", "default": True},
            "gpu_memory": {"type": "int"},
            "swap": {"type": "str", "choices": ["zram", "none", "image"], "default": "image"},
            "journal_size": {"type": "int"},
            "watchdog": {"type": "int"},
            "busy_units": {"type": "list", "elements": "str", "default": []},
            "lock_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    board = Board(module)
    result: dict[str, Any] = {"board": board.model}
    try:
        if board.model:
            board.converge()
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    result |= {"changed": board.files.changed, "restart": board.restart, "restart_pending": board.pending}
    module.exit_json(diff=board.files.diff, **result)


if __name__ == "__main__":
    main()
