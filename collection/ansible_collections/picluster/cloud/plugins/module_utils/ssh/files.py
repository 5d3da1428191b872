# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A file of sshd or of a user who logs in, with the directory that sshd must trust."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node


@dataclass(frozen=True)
class LoginFile:
    """A file in its desired state.

    Attributes:
        path: Absolute path on the node.
        text: The whole text, None for no such file.
        mode: Permission bits.
        owner: User and group id of a user's file, whose directory belongs to the same user; None for root's.
    """

    path: str
    text: str | None
    mode: int = 0o644
    owner: tuple[int, int] | None = None

    def is_right(self, node: Node) -> bool:
        """Return whether the node has it like this."""
        if node.files.read(self.path) != self.text:
            return False
        if self.text is None:
            return True
        status = node.path(self.path).stat()
        right_owner = self.owner is None or (status.st_uid, status.st_gid) == self.owner
        return stat.S_IMODE(status.st_mode) == self.mode and right_owner and self._folder_is_trusted(node)

    def write(self, node: Node) -> None:
        """Bring the file, and a user's directory, to the desired state.

        Raises:
            UserError: the node refuses.
        """
        if self.text is None:
            node.files.remove(self.path)
            return
        if self.owner is not None:
            self._prepare_folder(node, self.owner)
        node.files.put(self.path, self.text, self.mode, owner=self.owner)

    def _folder_is_trusted(self, node: Node) -> bool:
        """Return whether sshd, which reads the file as its user, can enter the directory and trusts its content."""
        folder = node.path(self.path).parent
        if self.owner is None or not folder.is_dir():
            return True
        status = folder.stat()
        readable = stat.S_IROTH | stat.S_IXOTH
        of_root = status.st_uid == 0 and status.st_mode & readable == readable
        return (status.st_uid == self.owner[0] or of_root) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)

    def _prepare_folder(self, node: Node, owner: tuple[int, int]) -> None:
        """Give the directory to its user; a run, or useradd, may have been killed before it did."""
        folder = node.path(self.path).parent
        if not self._folder_is_trusted(node):
            node.note(str(Path(self.path).parent), "not trusted by sshd", f"mode: 0700, owner: {owner[0]}:{owner[1]}")
        elif folder.exists():
            return
        if node.check_mode:
            return
        for place in (folder.parent, folder):
            if not place.exists():
                place.mkdir(mode=0o700, parents=True)
                os.chown(place, *owner)
        folder.chmod(0o700)
        os.chown(folder, *owner)
