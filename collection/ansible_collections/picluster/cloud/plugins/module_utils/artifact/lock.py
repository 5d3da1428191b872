# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The lock, which pins the checksums that were seen; and the lock of a directory against other runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_HEADER = """\
# What picluster saw when it first fetched each artifact: <name>/<version>/<architecture>: sha256:<hex>
# Every later fetch and every node must match. To accept another file, delete its line and run again.
"""
_LOCK_LINE = re.compile(r"^([^\s:]+/[^\s:]+/[^\s:]+): sha256:([0-9a-f]{64})$")


def parse_lock(text: str, path: Path) -> dict[str, str]:
    """Parse a lock: key -> sha256.

    Raises:
        UserError: A line is not as render_lock writes it.
    """
    entries = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LOCK_LINE.match(line.rstrip())
        if not match:
            raise UserError(
                f"{path} line {number} is invalid: '{line}'; expected '<name>/<version>/<architecture>: sha256:<64 hex "
                "digits>'; correct or delete the line"
            )
        entries[match[1]] = match[2]
    return entries


def render_lock(entries: dict[str, str]) -> str:
    """Return a lock's text, sorted so that its history reads well."""
    return LOCK_HEADER + "".join(f"{key}: sha256:{value}\n" for key, value in sorted(entries.items()))


def read_lock(path: Path) -> str:
    """Return the lock's text, empty if there is none yet."""
    return read_text(str(path)) or ""


def pin(path: Path, entries: dict[str, str], *, check_mode: bool) -> tuple[str, str]:
    """Add entries to the lock, keeping what another run wrote meanwhile.

    Returns:
        The lock's text before and after.

    Raises:
        UserError: The lock is damaged.
        OSError: It cannot be written.
    """
    with contextlib.nullcontext() if check_mode else exclusive(path.parent):
        before = read_lock(path)
        known = parse_lock(before, path)
        if entries.items() <= known.items():
            return before, before
        after = render_lock(known | entries)
        if not check_mode:
            write_atomically(path, after)
        return before, after


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Lock a directory against other runs on this machine; the lock ends with the process, so it is never stale."""
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
