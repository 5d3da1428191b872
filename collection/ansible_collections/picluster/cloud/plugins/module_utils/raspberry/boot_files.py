# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Files of a FAT boot partition, replaced together or not at all as far as FAT can."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import shown, sync

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles

NEW = ".picluster-new"


def read_exactly(path: str) -> str | None:
    """Return the text of a file with the line ends that it has, or None where there is none.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        return Path(path).read_bytes().decode(errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


class BootFiles:
    """The wanted texts of boot files, written in one go.

    FAT has no journal, modes are those of the mount, and it is small: so every text is on the card before the first
    name changes, a full partition changes nothing, and all of it is on the card before the call ends.
    """

    def __init__(self, module: AnsibleModule, files: TextFiles) -> None:
        self._module = module
        self._files = files
        self._wanted: dict[str, str | None] = {}

    @property
    def pending(self) -> bool:
        """Whether commit would change anything."""
        return bool(self._wanted)

    def want(self, path: str, text: str | None) -> None:
        """Have `path` hold `text`, or be gone, from the next commit on."""
        before = read_exactly(path)
        if before == text:
            if not self._module.check_mode:
                Path(path + NEW).unlink(missing_ok=True)  # of a call that was cut off
        else:
            self._wanted[path] = text
            self._files.diff.append(
                {
                    "before_header": path if before is not None else f"{path} (absent)",
                    "after_header": path if text is not None else f"{path} (absent)",
                    "before": shown(before or ""),
                    "after": shown(text or ""),
                }
            )

    def commit(self) -> None:
        """Write what is wanted, in the order in which it was asked for.

        Raises:
            OSError: it cannot be written, and nothing was changed; `filename` is the file's path.
        """
        if self._module.check_mode or not self._wanted:
            return
        made: list[Path] = []
        for path, text in self._wanted.items():
            if text is None:
                continue
            made.append(Path(path + NEW))
            try:
                _write(made[-1], text)
            except OSError as error:
                for left in made:
                    left.unlink(missing_ok=True)
                error.filename = path
                raise
        for path, text in self._wanted.items():
            if text is None:
                Path(path).unlink(missing_ok=True)
                sync(Path(path).parent)
            else:
                _take_over(Path(path + NEW), Path(path))
        self._wanted.clear()


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _take_over(new: Path, path: Path) -> None:
    """Give a file the name of another, so that a power cut leaves one of both under it.

    Linux's FAT driver keeps the first cluster of a renamed file with the file, not with the folder, and frees the
    clusters of the one that it replaces at once: with the folder alone synced, a power cut left a name that led to a
    freed cluster (seen on Linux 6.1). So the replaced file is held open until the card knows the new one by its name.
    """
    with contextlib.ExitStack() as held:
        if path.exists():
            held.enter_context(path.open("rb"))
        new.replace(path)
        sync(path)
        sync(path.parent)
