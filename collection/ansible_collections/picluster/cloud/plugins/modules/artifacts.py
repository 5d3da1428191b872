#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Fetch pinned release files to the controller, once and verified."""

from __future__ import annotations

DOCUMENTATION = r"""
module: artifacts
short_description: Fetch pinned release files to the controller, once and verified
description:
  - Runs on the controller. For each architecture it searches the site's folder, then the cache, and downloads last.
  - A checksum in O(files) must match. Without one, the first download must match the publisher's own checksum file,
    fetched over TLS, and its checksum is written to the lock; from then on every fetch must match the lock.
  - A file of the site's folder for which no checksum is known is recorded in the lock at its first use.
version_added: 0.1.0
options:
  name:
    description: Name of the artifact.
    type: str
    required: true
  version:
    description: The pinned version.
    type: str
    required: true
  files:
    description:
      - For each architecture a dictionary with V(file) (the released file's name), V(url), V(checksum)
        (V(sha256:<hex>) or V(sha512:<hex>)) and V(checksum_url) (the publisher's checksum file, https).
      - V(fallback_url) and V(fallback_checksum_url) are used where the first has no such file (HTTP 404), for a
        publisher who moves older releases to an archive.
    type: dict
    required: true
  folder:
    description:
      - The site's folder of artifacts, for a site without internet. Files are C(<folder>/<name>-<version>/<file>) or
        C(<folder>/<file>).
      - Empty means none.
    type: path
    default: ''
  cache:
    description: Where downloads are kept.
    type: path
    default: ~/.cache/picluster
  lock:
    description: The file that pins what was seen.
    type: path
    required: true
  optional:
    description: Report what is not available in RV(missing) instead of failing. A wrong checksum fails in any case.
    type: bool
    default: false
  timeout:
    description: Seconds without an answer from the publisher until it counts as unreachable.
    type: int
    default: 15
extends_documentation_fragment: [picluster.cloud.attributes]
attributes:
  check_mode:
    description: Downloads and writes nothing; only queries the publisher whether the file exists.
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Fetch k3s
  picluster.cloud.artifacts:
    name: k3s
    version: v1.36.4+k3s1
    files:
      arm64:
        file: k3s-arm64
        url: https://github.com/k3s-io/k3s/releases/download/v1.36.4%2Bk3s1/k3s-arm64
        checksum_url: https://github.com/k3s-io/k3s/releases/download/v1.36.4%2Bk3s1/sha256sum-arm64.txt
    folder: "{{ lookup('ansible.builtin.env', 'PICLUSTER_ARTIFACTS') }}"
    # The implicit localhost has no inventory_dir of its own.
    lock: "{{ hostvars[groups['all'] | first].inventory_dir }}/artifacts.lock"
"""

RETURN = r"""
artifacts:
  description: What is available, by architecture. In check mode V(sha256) is empty if only a download can tell it.
  returned: success
  type: dict
  sample: {arm64: {path: /home/me/.cache/picluster/k3s/v1.36.4+k3s1/arm64/k3s-arm64, sha256: ..., version: v1}}
missing:
  description: Why an optional artifact is not available, by architecture.
  returned: success
  type: dict
  sample: {arm64: 'github.com could not be reached (timed out)'}
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.rules import parse_files
from ansible_collections.picluster.cloud.plugins.module_utils.artifact.store import Store, collect, parse_lock, pin
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text
from ansible_collections.picluster.cloud.plugins.module_utils.node.module import run_module

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "version": {"type": "str", "required": True},
    "files": {"type": "dict", "required": True},
    "folder": {"type": "path", "default": ""},
    "cache": {"type": "path", "default": "~/.cache/picluster"},
    "lock": {"type": "path", "required": True},
    "optional": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 15},
}


def converge(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    """Fetch the artifacts of all architectures and pin them."""
    try:
        return _fetch(node, options)
    except OSError as error:
        # The controller's disk, not a card: a place that the user chose.
        raise UserError(f"{options['name']} cannot be stored: {error}; set cache and lock to writable paths") from error


def _fetch(node: Node, options: dict[str, Any]) -> dict[str, Any]:
    lock = Path(options["lock"])
    artifacts = parse_files(options["name"], options["version"], options["files"])
    store = Store(
        folder=Path(options["folder"]) if options["folder"] else None,
        cache=Path(options["cache"]),
        lock=parse_lock(read_text(str(lock)) or "", lock),
        lock_path=lock,
        timeout=options["timeout"],
        check_mode=node.check_mode,
    )
    available, missing = collect(store, artifacts, optional=options["optional"])
    for path in store.fetched:
        node.note(path, "", f"{options['name']} {options['version']}")
    keys = {artifact.arch: artifact.key for artifact in artifacts}
    seen = {keys[arch]: entry["sha256"] for arch, entry in available.items() if entry["sha256"]}
    before, after = pin(lock, seen, check_mode=node.check_mode)
    if before != after:
        node.note(str(lock), before, after)
    return {"artifacts": available, "missing": missing}


def main() -> None:
    """Run the module."""
    run_module(converge, OPTIONS)


if __name__ == "__main__":
    main()
