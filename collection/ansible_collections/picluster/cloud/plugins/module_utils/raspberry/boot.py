# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Files of a FAT boot partition, replaced together or not at all as far as FAT can."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import describe_write_error, printable, sync

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

NEW = ".picluster-new"


class BootFiles:
    """The desired texts of boot files, written in one go.

    FAT has no journal, modes are those of the mount, and the partition is small. So every text is on the card before
    the first name changes, a full partition changes nothing, and everything is on the card before the call ends.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._desired: dict[str, str | None] = {}

    @property
    def pending(self) -> bool:
        """Whether commit would change anything."""
        return bool(self._desired)

    def read(self, path: str) -> str | None:
        """Return the text of a file with its own line ends, or None where there is none.

        Raises:
            UserError: It is there and cannot be read.
        """
        try:
            return self._node.path(path).read_bytes().decode(errors="surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}; check the card") from error

    def put(self, path: str, text: str | None) -> None:
        """Have the next commit write `text` to `path`, or with None remove it."""
        before = self.read(path)
        if before == text:
            if not self._node.check_mode:
                self._node.path(path + NEW).unlink(missing_ok=True)  # of a call that was killed
            return
        self._desired[path] = text
        self._node.diff.append(
            {
                "before_header": path if before is not None else f"{path} (absent)",
                "after_header": path if text is not None else f"{path} (absent)",
                "before": printable(before or ""),
                "after": printable(text or ""),
            }
        )

    def commit(self) -> None:
        """Write the desired texts, in the order of the calls of put.

        Raises:
            UserError: One cannot be written; nothing was changed.
        """
        if self._node.check_mode:
            return
        written: list[Path] = []
        for path, text in self._desired.items():
            if text is None:
                continue
            written.append(self._node.path(path + NEW))
            try:
                _write(written[-1], text)
            except OSError as error:
                for new in written:
                    new.unlink(missing_ok=True)
                raise UserError(describe_write_error(error, path)) from error
        for path, text in self._desired.items():
            place = self._node.path(path)
            if text is None:
                place.unlink(missing_ok=True)
                sync(place.parent)
            else:
                _take_over(self._node.path(path + NEW), place)
        self._desired.clear()


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _take_over(new: Path, path: Path) -> None:
    """Give a file the name of another, so that a power cut leaves one of both under it.

    Linux's FAT driver keeps the first cluster of a renamed file with the file, not with the folder, and frees the
    clusters of the replaced one at once: with the folder alone synced, a power cut left a name that led to a freed
    cluster (seen on Linux 6.1). So the replaced file is held open until the card knows the new one by its name.
    """
    with contextlib.ExitStack() as held:
        if path.exists():
            held.enter_context(path.open("rb"))
        new.replace(path)
        sync(path)
        sync(path.parent)
