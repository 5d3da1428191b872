# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The machine-id of a node, which must be unique: systemd derives MAC addresses from it."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

MACHINE_ID = "/etc/machine-id"
# A link to the other on Debian; a copied system may have a file here, from which systemd would take the old id.
DBUS_ID = "/var/lib/dbus/machine-id"
MOUNTS = "/proc/self/mountinfo"
_VALID = re.compile(r"(?!0{32})[0-9a-f]{32}")


def problem(text: str | None, taken: str) -> str:
    """Return what is wrong with the text of a machine-id, which must not be `taken`; empty if nothing is."""
    if text is None:
        return "missing"
    found = text.strip()
    if found == taken and found:
        return f"{found}, another node's"
    return "" if _VALID.fullmatch(found) else found[:40] or "empty"


def is_transient(mounts: str) -> bool:
    """Return whether the file is only mounted over, from memory, so that the next boot makes another (proc(5))."""
    lines = [line.partition(" - ") for line in mounts.splitlines()]
    return any(fields.split()[4:5] == [MACHINE_ID] and rest.startswith("tmpfs ") for fields, _dash, rest in lines)


def ensure_machine_id(node: Node, taken: str) -> str:
    """Make sure of a permanent id of this node's own other than `taken`; return it, in check mode the present one."""
    text = node.files.read(MACHINE_ID)
    transient = is_transient(node.files.read(MOUNTS) or "")
    wrong = problem(text, taken)
    found = (text or "").strip()
    if not wrong:
        if transient:
            node.note(MACHINE_ID, f"{found}, until the next start", found)
            node.change("systemd-machine-id-setup", "--commit")
        _update_dbus(node, found)
        return found
    if node.check_mode:
        node.note(MACHINE_ID, wrong, "a new one")
        return found
    if transient:
        node.change("umount", MACHINE_ID)
    new = uuid.uuid4().hex
    node.files.put(MACHINE_ID, f"{new}\n", 0o444, may_be_mount=True)
    _update_dbus(node, new)
    # journald names its folder by the id, and journalctl looks into the new one from now on.
    node.change("systemctl", "try-restart", "systemd-journald.service")
    return new


def _update_dbus(node: Node, machine_id: str) -> None:
    path = node.path(DBUS_ID)
    if path.is_file() and not path.is_symlink() and (node.files.read(DBUS_ID) or "").strip() != machine_id:
        node.files.put(DBUS_ID, f"{machine_id}\n", 0o444)
