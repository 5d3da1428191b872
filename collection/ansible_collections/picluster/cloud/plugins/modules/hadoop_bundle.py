#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Assemble Hadoop's release archive from Maven Central on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hadoop_bundle
short_description: Assemble Hadoop's release archive from Maven Central
description:
  - Resolves Hadoop's jars with C(mvn), which uses the user's own Maven settings, and packs them in the layout of
    Apache's release archive (C(hadoop-VERSION/{bin,libexec,etc/hadoop,share/hadoop/...})), one archive for each
    architecture, into the cache.
  - The release's shell scripts are not on Maven Central; the launchers in O(folder) replace them, with the same command
    line.
  - The archive is the same bytes whenever jars, launchers and zlib are the same. An archive that is in the cache is not
    built again.
version_added: 0.1.0
author: [The picluster authors (!UNKNOWN)]
extends_documentation_fragment: [picluster.cloud.attributes]
attributes:
  check_mode:
    description: Builds nothing; an archive that is not in the cache is returned with its future path and no checksum.
options:
  version:
    description: Hadoop's version.
    type: str
    required: true
  archs:
    description: The architectures to build for, by Debian's names.
    type: list
    elements: str
    choices: [amd64, arm64]
    required: true
  folder:
    description: The folder with C(pom.xml) and the launchers (C(bin), C(libexec)).
    type: path
    required: true
  cache:
    description: The folder in which the archives are stored.
    type: path
    default: ~/.cache/picluster
  timeout:
    description: The most seconds that C(mvn) may take.
    type: int
    default: 1800
"""

EXAMPLES = r"""
- name: Assemble Hadoop
  picluster.cloud.hadoop_bundle:
    version: 3.5.0
    archs: [arm64]
    folder: "{{ role_path }}/files/bundle"
  delegate_to: localhost
"""

RETURN = r"""
artifacts:
  description: For each architecture the archive (C(path)), its C(sha256) and the C(version).
  returned: success
  type: dict
  sample: {arm64: {path: /home/me/.cache/picluster/hadoop-3.5.0-arm64-maven-1f0a.tar.gz, sha256: ..., version: 3.5.0}}
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.bundle import BundleCache, build
from ansible_collections.picluster.cloud.plugins.module_utils.node.digest import Memo
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "version": {"type": "str", "required": True},
    "archs": {"type": "list", "elements": "str", "choices": ["amd64", "arm64"], "required": True},
    "folder": {"type": "path", "required": True},
    "cache": {"type": "path", "default": "~/.cache/picluster"},
    "timeout": {"type": "int", "default": 1800},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Build the archives that the cache lacks."""
    version, archs, folder = options["version"], options["archs"], Path(options["folder"])
    cache = BundleCache(Path(options["cache"]), version, folder)
    missing = cache.missing(archs)
    for arch in missing:
        node.note(str(cache.path(arch)), "", "built")
    if missing and not node.check_mode:
        build(cache, archs, options["timeout"])
    memo = Memo(Path(options["cache"]) / "digests.json", read_only=node.check_mode)
    paths = {arch: cache.path(arch) for arch in archs}
    return {
        "artifacts": {
            arch: {"path": str(path), "sha256": memo.digest(path) if path.is_file() else "", "version": version}
            for arch, path in paths.items()
        }
    }


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
