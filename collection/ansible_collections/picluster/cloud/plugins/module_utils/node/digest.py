# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checksums of large files, computed once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.files import write_atomically

CHUNK = 1 << 20


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Compute a file's checksum as hex digits."""
    found = hashlib.new(algorithm)  # not file_digest, which came with Python 3.11
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            found.update(block)
    return found.hexdigest()


class Memo:
    """Remembers checksums by size, times and inode, so that a rerun need not read the files again.

    Any write to a file changes its ctime, which no ordinary program can set back.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        try:
            loaded: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            loaded = {}
        self._seen: dict[str, Any] = loaded if isinstance(loaded, dict) else {}

    def digest(self, path: Path, algorithm: str = "sha256") -> str:
        """Return the file's checksum as hex digits, from memory if the file is unchanged."""
        info = path.stat()
        mark = [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
        key = f"{algorithm} {path}"
        known = self._seen.get(key)
        if isinstance(known, list) and known[:-1] == mark:
            return str(known[-1])
        value = digest(path, algorithm)
        self._seen[key] = [*mark, value]
        if not self._read_only:
            self._save()
        return value

    def _save(self) -> None:
        self._seen = {key: mark for key, mark in self._seen.items() if Path(key.partition(" ")[2]).exists()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps(self._seen, sort_keys=True) + "\n")
        except OSError:
            return  # only time is lost: the next run reads the file again
