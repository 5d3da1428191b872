# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest of an armed rollback, which the restore script reads as well."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    """An armed rollback.

    Attributes:
        token: Identifies the arming.
        files: The paths that would be restored.
        restoring: The restore has begun (and was killed, unless the lock is held); a confirmation is too late.
    """

    token: str
    files: tuple[str, ...]
    restoring: bool = False


def parse_manifest(text: str, *, restoring: bool = False) -> State:
    """Return what a manifest says, line by line: one word, then its value."""
    token, files = "", []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "token":
            token = rest
        elif word == "none":
            files.append(rest)
        elif word == "file":
            files.append(rest.partition(" ")[2])
    return State(token, tuple(files), restoring)
