# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What is asked for, and how publishers write its checksum. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.forms import Checksum, parse_checksum

_GNU_LINE = re.compile(r"^\\?([0-9a-fA-F]{64,128})[ \t]+\*?(\S.*)$")
_BSD_LINE = re.compile(r"^(SHA-?\d+)\s*\((.+)\)\s*=\s*([0-9a-fA-F]{64,128})$", re.IGNORECASE)
_BARE_LINE = re.compile(r"^[0-9a-fA-F]{64,128}$")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_~-]*")
_KEYS = {"file", "url", "checksum", "checksum_url", "fallback_url", "fallback_checksum_url"}


@dataclass(frozen=True)
class Artifact:
    """One released file for one architecture; the fields are those of the option `files`.

    Attributes:
        url: Its address, empty if it comes from the site's folder only.
        fallback_url: Where the publisher moves what is no longer current.
    """

    name: str
    version: str
    arch: str
    file: str
    url: str = ""
    checksum: Checksum | None = None
    checksum_url: str = ""
    fallback_url: str = ""
    fallback_checksum_url: str = ""

    @property
    def key(self) -> str:
        """Its name in the lock."""
        return f"{self.name}/{self.version}/{self.arch}"

    def __str__(self) -> str:
        return f"{self.name} {self.version} for {self.arch}"


def parse_checksum_file(text: str, file: str) -> Checksum:
    """Return a file's checksum from a publisher's checksum file.

    Formats: GNU (`<hex>  <name>`), BSD (`SHA512 (<name>) = <hex>`), a bare checksum.
    A BSD file with a single line counts whatever name it carries: Apache's files keep the name of the release candidate
    (hadoop-3.3.6 is published with `hadoop-3.3.6-RC1.tar.gz` inside).
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        gnu, bsd = _GNU_LINE.match(line), _BSD_LINE.match(line)
        if gnu and _base(gnu[2]) == file:
            return parse_checksum(gnu[1])
        if bsd and (len(lines) == 1 or _base(bsd[2]) == file):
            return parse_checksum(f"{bsd[1].replace('-', '')}:{bsd[3]}")
    if len(lines) == 1 and _BARE_LINE.match(lines[0]):
        return parse_checksum(lines[0])
    raise UserError(f"the publisher's checksum file has no line for {file}")


def _base(name: str) -> str:
    return name.strip().rsplit("/", 1)[-1]


def parse_files(name: str, version: str, files: dict[str, Any]) -> list[Artifact]:
    """Parse the options of picluster.cloud.artifacts that say what to fetch."""
    for option, value, pattern in (("name", name, _NAME), ("version", version, _VERSION)):
        if not pattern.fullmatch(value):
            raise UserError(f"{option} is invalid: '{value}'; expected letters, digits and .+_~-")
    artifacts = []
    for arch, entry in sorted(files.items()):
        if not isinstance(entry, dict) or set(entry) - _KEYS or not all(isinstance(v, str) for v in entry.values()):
            raise UserError(f"files.{arch} must be a dictionary of strings with the keys {', '.join(sorted(_KEYS))}")
        file = entry.get("file", "")
        if not file or "/" in file or file.startswith("."):
            raise UserError(f"files.{arch}.file is invalid: '{file}'; expected the plain name of the released file")
        for key in ("checksum_url", "fallback_checksum_url"):
            if entry.get(key) and urlsplit(entry[key]).scheme != "https":
                raise UserError(f"files.{arch}.{key} is not https: '{entry[key]}'; only https protects a checksum")
        checksum = parse_checksum(entry["checksum"]) if entry.get("checksum") else None
        addresses = {key: entry[key] for key in entry if key.endswith("url")}
        artifacts.append(Artifact(name, version, arch, file, checksum=checksum, **addresses))
    return artifacts
