# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Archives for the tests of artifacts."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Member = tuple[str, dict[str, Any], bytes]


def archive(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, attributes, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid = len(data), 0o644, 1000
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return path


def directory(name: str) -> Member:
    return name, {"type": tarfile.DIRTYPE}, b""


def plain(name: str, data: bytes = b"x", **more: Any) -> Member:
    return name, more, data


def link(name: str, goal: str, kind: bytes = tarfile.SYMTYPE) -> Member:
    return name, {"type": kind, "linkname": goal}, b""


def hadoop(path: Path, version: bytes = b"one") -> Path:
    return archive(
        path,
        directory("hadoop-3/"),
        plain("hadoop-3/bin/hdfs", version, mode=0o4775),
        plain("hadoop-3/etc/core-site.xml", mode=0o600),
        plain("hadoop-3/share/doc/index.html"),
        link("hadoop-3/lib.so", "lib.so.1"),
        plain("hadoop-3/lib.so.1"),
        link("hadoop-3/hard", "hadoop-3/lib.so.1", tarfile.LNKTYPE),
    )
