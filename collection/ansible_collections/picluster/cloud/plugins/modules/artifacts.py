#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Module artifacts: bring pinned release files to the controller, once and verified."""

from __future__ import annotations

DOCUMENTATION = r"""
module: artifacts
short_description: Bring pinned release files to the controller, once and verified
description:
  - Runs on the controller. For every architecture it looks into the site's folder, then into the cache,
    and downloads last.
  - A checksum in O(files) must match. Without one, the first download must match the publisher's own checksum file,
    fetched over TLS, and what was seen is written to the lock; from then on every fetch must match the lock.
  - A file of the site's folder for which no checksum is known is recorded in the lock at its first use.
author: [The picluster authors]
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
      - For each architecture that is wanted, a dictionary with V(file) (the released file's name), V(url), V(checksum)
        (V(sha256:<hex>) or V(sha512:<hex>)) and V(checksum_url) (the publisher's checksum file, https).
      - V(fallback_url) and V(fallback_checksum_url) are asked where the first has no such file (HTTP 404), for a
        publisher who moves what is no longer current to an archive.
    type: dict
    required: true
  folder:
    description:
      - The site's folder of artifacts, for a site without internet. Looked up are C(<folder>/<name>-<version>/<file>)
        and C(<folder>/<file>).
      - Empty means none.
    type: str
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
    description: Report what cannot be had in RV(missing) instead of failing. A wrong checksum fails all the same.
    type: bool
    default: false
  timeout:
    description: Seconds without a sign of life from the publisher until it counts as unreachable.
    type: int
    default: 15
attributes:
  check_mode:
    support: full
    description: Downloads nothing and writes nothing; only asks the publisher whether the file is there.
  diff_mode:
    support: full
  idempotent:
    support: full
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
  description: What is at hand, by architecture. In check mode V(sha256) is empty when only a download can tell it.
  returned: success
  type: dict
  sample: {arm64: {path: /home/me/.cache/picluster/k3s/v1.36.4+k3s1/arm64/k3s-arm64, sha256: ..., version: v1}}
missing:
  description: Why an optional artifact cannot be had, by architecture.
  returned: success
  type: dict
  sample: {arm64: 'github.com could not be reached (timed out)'}
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.digest import ArtifactError
from ansible_collections.picluster.cloud.plugins.module_utils.artifact.store import (
    NotToBeHad,
    Store,
    exclusive,
    parse_lock,
    read_lock,
    read_wanted,
    render_lock,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import write_atomically


def collect(store: Store, params: dict[str, Any]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Get the artifact for every architecture.

    Returns:
        What is at hand, and why the rest (of an optional artifact) is not.

    Raises:
        ArtifactError: When something is not what it must be, or a needed artifact cannot be had.
    """
    artifacts, missing = {}, {}
    for wanted in read_wanted(params["name"], params["version"], params["files"]):
        try:
            artifacts[wanted.arch] = store.get(wanted)
        except NotToBeHad as reason:
            if not params["optional"]:
                raise ArtifactError(
                    f"{wanted} cannot be had: {reason}; connect the controller, or put {wanted.file} into a folder "
                    "and name that in PICLUSTER_ARTIFACTS"
                ) from reason
            missing[wanted.arch] = str(reason)
    return artifacts, missing


def pin(path: Path, entries: dict[str, str], *, check_mode: bool) -> tuple[str, str]:
    """Add entries to the lock, keeping what another run wrote meanwhile.

    Returns:
        The lock's text before and after.
    """
    if check_mode:
        before = read_lock(path)
        known = parse_lock(before, path)
        return before, before if entries.items() <= known.items() else render_lock(known | entries)
    with exclusive(path.parent):
        before = read_lock(path)
        known = parse_lock(before, path)
        if entries.items() <= known.items():
            return before, before
        after = render_lock(known | entries)
        write_atomically(path, after)
        return before, after


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "files": {"type": "dict", "required": True},
            "folder": {"type": "str", "default": ""},
            "cache": {"type": "path", "default": "~/.cache/picluster"},
            "lock": {"type": "path", "required": True},
            "optional": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    params, lock_path = module.params, Path(module.params["lock"])
    try:
        store = Store(
            folder=Path(params["folder"]).expanduser() if params["folder"] else None,
            cache=Path(params["cache"]),
            lock=parse_lock(read_lock(lock_path), lock_path),
            lock_path=lock_path,
            timeout=params["timeout"],
            check_mode=module.check_mode,
        )
        artifacts, missing = collect(store, params)
        stem = f"{params['name']}/{params['version']}"
        seen = {f"{stem}/{arch}": entry["sha256"] for arch, entry in artifacts.items() if entry["sha256"]}
        before, after = pin(lock_path, seen, check_mode=module.check_mode)
    except ArtifactError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"the controller cannot keep {params['name']}: {error}; give cache and lock a place that can be written"
        )
    diff = {"before": before, "after": after, "before_header": str(lock_path), "after_header": str(lock_path)}
    module.exit_json(
        changed=bool(store.fetched) or before != after,
        artifacts=artifacts,
        missing=missing,
        diff=diff if before != after else {},
    )


if __name__ == "__main__":
    main()
