# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Checksums: of files, and as publishers write them down."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.files import write_atomically

CHUNK = 1 << 20
# What is long enough to resist a forged file; md5 and sha1 are not.
_ALGORITHM_BY_DIGITS = {64: "sha256", 96: "sha384", 128: "sha512"}
_GNU_LINE = re.compile(r"^\\?([0-9a-fA-F]{64,128})[ \t]+\*?(\S.*)$")
_BSD_LINE = re.compile(r"^(SHA-?\d+)\s*\((.+)\)\s*=\s*([0-9a-fA-F]{64,128})$", re.IGNORECASE)
_BARE_LINE = re.compile(r"^[0-9a-fA-F]{64,128}$")


class ArtifactError(Exception):
    """An artifact that is not what it should be; the text is one sentence for the user."""


@dataclass(frozen=True)
class Checksum:
    """A checksum with the name of its algorithm."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


def parse_checksum(text: str) -> Checksum:
    """Read `sha256:<hex>`, `sha512:<hex>` or the bare digits.

    Raises:
        ArtifactError: When the text is no checksum of a kind that resists forgery.
    """
    algorithm, _, digits = text.strip().lower().rpartition(":")
    found = _ALGORITHM_BY_DIGITS.get(len(digits)) if re.fullmatch(r"[0-9a-f]+", digits) else None
    if found is None or algorithm not in ("", found):
        raise ArtifactError(f"'{text}' is no checksum; wanted is sha256:<64 hex digits> or sha512:<128 hex digits>")
    return Checksum(found, digits)


def parse_checksum_file(text: str, file: str) -> Checksum:
    """Find a file's checksum in what its publisher wrote.

    Formats: GNU (`<hex>  <name>`), BSD (`SHA512 (<name>) = <hex>`), a bare checksum.
    A BSD file with a single line counts whatever name it carries: Apache's files keep the name of the release candidate
    (hadoop-3.3.6 is published with `hadoop-3.3.6-RC1.tar.gz` inside).

    Raises:
        ArtifactError: When the text has no checksum for the file.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    single_bsd: list[Checksum] = []
    for line in lines:
        gnu, bsd = _GNU_LINE.match(line), _BSD_LINE.match(line)
        if gnu and _base(gnu[2]) == file:
            return parse_checksum(gnu[1])
        if bsd:
            checksum = parse_checksum(f"{bsd[1].replace('-', '')}:{bsd[3]}")
            if _base(bsd[2]) == file:
                return checksum
            single_bsd.append(checksum)
    if len(lines) == 1:
        if single_bsd:
            return single_bsd[0]
        if _BARE_LINE.match(lines[0]):
            return parse_checksum(lines[0])
    raise ArtifactError(f"the publisher's checksum file has no line for {file}")


def _base(name: str) -> str:
    return name.strip().rsplit("/", 1)[-1]


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Compute a file's checksum as hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


class Memo:
    """Remembers checksums of large files by size, times and inode, so that a rerun need not read them again.

    Any write to a file moves its ctime, which no ordinary program can set back.
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
        """Return the file's checksum as hex digits, from memory if the file is untouched since."""
        info = path.stat()
        mark = [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
        key = f"{algorithm} {path}"
        known = self._seen.get(key)
        if isinstance(known, list) and known[:-1] == mark:
            return str(known[-1])
        value = digest(path, algorithm)
        self._seen[key] = [*mark, value]
        self._save()
        return value

    def _save(self) -> None:
        if self._read_only:
            return
        self._seen = {key: mark for key, mark in self._seen.items() if Path(key.partition(" ")[2]).exists()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps(self._seen, sort_keys=True) + "\n")
        except OSError:
            return  # only time is lost: the next run reads the file again
