# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The machine-id of a node, which must be its own: systemd makes MAC addresses of it."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles

MACHINE_ID = "/etc/machine-id"
# A link to the other on Debian; a copied system may have a file here, which systemd would take the old id from.
DBUS_ID = "/var/lib/dbus/machine-id"
MOUNTS = "/proc/self/mountinfo"
_VALID = re.compile(r"(?!0{32})[0-9a-f]{32}")


def problem(text: str | None, taken: str) -> str:
    """Return what is wrong with a machine-id, empty if nothing is.

    Args:
        text: the file's text, None if there is no file.
        taken: an id that another node has; empty if none.
    """
    if text is None:
        return "missing"
    found = text.strip()
    if found == taken and found:
        return f"{found}, another node's"
    return "" if _VALID.fullmatch(found) else found[:40] or "empty"


def is_transient(mounts: str) -> bool:
    """Whether the file is only mounted over, from memory, so that the next boot would make another (proc(5))."""
    lines = [line.partition(" - ") for line in mounts.splitlines()]
    return any(fields.split()[4:5] == [MACHINE_ID] and rest.startswith("tmpfs ") for fields, _dash, rest in lines)


class MachineId:
    """The node's machine-id."""

    def __init__(self, module: AnsibleModule, files: TextFiles) -> None:
        self._module = module
        self._files = files

    def settle(self, taken: str) -> str:
        """Have an id of this node's own, for good; return it (in check mode the present one).

        Args:
            taken: the id that it must not have.

        Raises:
            ValueError: a command failed; the message has its words.
            OSError: the card takes nothing.
        """
        text = read_text(MACHINE_ID)
        transient = is_transient(read_text(MOUNTS) or "")
        wrong = problem(text, taken)
        found = (text or "").strip()
        if not wrong:
            if transient:
                self._note(f"{found}, until the next start", found)
                self._change("systemd-machine-id-setup", "--commit")
            self._tell_dbus(found)
            return found
        if self._module.check_mode:
            self._note(wrong, "a new one")
            return found
        if transient:
            self._change("umount", MACHINE_ID)
        new = uuid.uuid4().hex
        self._files.put(MACHINE_ID, f"{new}\n", 0o444, may_be_mount=True)
        self._tell_dbus(new)
        # It names its folder by the id, and journalctl looks into the new one from now on.
        self._change("systemctl", "try-restart", "systemd-journald.service")
        return new

    def _tell_dbus(self, machine_id: str) -> None:
        path = Path(DBUS_ID)
        if path.is_file() and not path.is_symlink() and (read_text(DBUS_ID) or "").strip() != machine_id:
            self._files.put(DBUS_ID, f"{machine_id}\n", 0o444)

    def _note(self, before: str, after: str) -> None:
        headers = {"before_header": MACHINE_ID, "after_header": MACHINE_ID}
        self._files.diff.append({**headers, "before": f"{before}\n", "after": f"{after}\n"})

    def _change(self, *command: str) -> None:
        if self._module.check_mode:
            return
        rc, out, err = self._module.run_command(list(command))
        if rc != 0:
            raise ValueError(f"{' '.join(command)} failed: {' '.join((err or out).split())}")
