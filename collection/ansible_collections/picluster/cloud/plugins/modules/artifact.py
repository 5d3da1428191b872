#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Module artifact: put a verified release file, or the tree inside it, on the node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: artifact
short_description: Put a verified release file, or the tree inside it, on the node
description:
  - The node is asked first; the file travels only if something differs. It is verified on the node before use.
  - A tree appears by one rename and is removed by one, so no program ever sees a half-unpacked one.
  - What a killed run left behind (archives on their way, half-unpacked trees) is removed by the next.
author: [The picluster authors]
options:
  artifact:
    description: One artifact as returned by M(picluster.cloud.artifacts), with V(path), V(sha256) and V(version).
    type: dict
    required: true
  dest:
    description: Where the file, or the tree's root, shall be.
    type: path
    required: true
  kind:
    description: V(file) copies the file; V(tree) unpacks a tar archive without its top directory.
    type: str
    choices: [file, tree]
    default: file
  mode:
    description: Mode of the file.
    type: str
    default: '0755'
  exclude:
    description: Shell patterns of paths inside the tree (without the top directory) that are left out.
    type: list
    elements: str
    default: []
  incoming:
    description: Set by the action plugin, the transferred file.
    type: path
attributes:
  check_mode:
    support: full
    description: The file need not be on the controller.
  diff_mode:
    support: full
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Put the k3s binary in place
  picluster.cloud.artifact:
    artifact: "{{ k3s_artifact }}"
    dest: /usr/local/bin/k3s-v1.36.4+k3s1

- name: Unpack Hadoop
  picluster.cloud.artifact:
    artifact: "{{ hadoop_artifact }}"
    dest: /opt/hadoop-3.4.3
    kind: tree
    exclude: [share/doc]
"""

RETURN = r"""
dest:
  description: Where it is.
  returned: success
  type: str
version:
  description: The version that is there.
  returned: success
  type: str
"""

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.digest import (
    ArtifactError,
    Memo,
    digest,
    parse_checksum,
)
from ansible_collections.picluster.cloud.plugins.module_utils.artifact.unpack import unpack
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import write_atomically

STAMP = ".picluster-sha256"
MEMO = Path("/var/lib/picluster/digests.json")
# A transfer that has not moved for so long belongs to a run that is gone.
ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class Target:
    """What shall be where."""

    dest: Path
    kind: str
    sha256: str
    mode: int = 0o755
    exclude: tuple[str, ...] = ()

    @property
    def fresh(self) -> Path:
        """Where it is made ready: beside the destination, so that a rename is enough."""
        return self.dest.with_name(f".{self.dest.name}.picluster-new")

    @property
    def old(self) -> Path:
        """Where the former tree waits for its removal."""
        return self.dest.with_name(f".{self.dest.name}.picluster-old")

    @property
    def stamp(self) -> str:
        """The text that a finished tree carries."""
        return f"{self.sha256}\n" + (f"without {json.dumps(sorted(self.exclude))}\n" if self.exclude else "")


def parse_mode(text: str) -> int:
    """Read an octal mode.

    Raises:
        ArtifactError: When it is none.
    """
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if mode & 0o777 != mode:
        raise ArtifactError(f"mode is '{text}'; wanted are octal digits as in '0755'")
    return mode


def read_target(params: dict[str, Any]) -> Target:
    """Read the module's options.

    Raises:
        ArtifactError: With the option that is wrong and what would be right.
    """
    sha256 = str(params["artifact"].get("sha256", ""))
    if sha256 and parse_checksum(sha256).algorithm != "sha256":
        raise ArtifactError(f"artifact.sha256 is '{sha256}'; wanted are 64 hex digits")
    mode, exclude = parse_mode(params["mode"]), tuple(params["exclude"])
    return Target(Path(params["dest"]), params["kind"], sha256, mode, exclude)


def present(target: Target, memo: Memo) -> str:
    """Describe what is at the destination: 'absent', 'as wanted', or what differs.

    Raises:
        ArtifactError: When something is there that this module did not put there and must not destroy.
    """
    dest = target.dest
    if not os.path.lexists(dest):
        return "absent"
    if target.kind == "file":
        if dest.is_symlink() or not dest.is_file():
            raise ArtifactError("it is not a plain file, so it is not replaced; move it away")
        found = memo.digest(dest)
        if found != target.sha256:
            return f"sha256 {found}"
        mode = dest.stat().st_mode & 0o777
        return "as wanted" if mode == target.mode else f"mode {mode:04o}"
    try:
        stamp = (dest / STAMP).read_text(encoding="utf-8")
    except OSError as error:
        if dest.is_dir() and not any(dest.iterdir()):
            return "an empty directory"
        raise ArtifactError(
            f"it exists and was not unpacked by picluster ({STAMP} is missing), so it is not replaced; move it away"
        ) from error
    return "as wanted" if stamp == target.stamp else f"sha256 {stamp.strip()}"


def remove(path: Path) -> None:
    """Remove whatever is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(incoming: Path, now: float) -> None:
    """Remove archives that killed runs left beside this run's one in the login user's temporary directory."""
    for other in incoming.parent.parent.glob(f"ansible-tmp-*/{incoming.name}"):
        if other != incoming and now - other.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(other.parent, ignore_errors=True)


def install(target: Target, incoming: Path) -> None:
    """Verify the transferred file and put it, or what is inside, in place by a rename.

    Raises:
        ArtifactError: When the file arrived damaged, or its archive is not sound.
    """
    found = digest(incoming)
    if found != target.sha256:
        raise ArtifactError(
            f"what arrived has sha256 {found}, but {target.sha256} was sent; run again, and check cable and card"
        )
    target.dest.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    remove(target.fresh)
    try:
        if target.kind == "tree":
            unpack(incoming, target.fresh, target.exclude)
            write_atomically(target.fresh / STAMP, target.stamp)
        else:
            shutil.copyfile(incoming, target.fresh)
            target.fresh.chmod(target.mode)
        # The stamp must not survive a power cut that its files did not.
        # Hundreds of small fsyncs are slow on a card, one sync is not.
        os.sync()
        remove(target.old)
        if target.kind == "tree" and target.dest.exists():
            target.dest.rename(target.old)
        target.fresh.rename(target.dest)
    finally:
        remove(target.fresh)
        if target.dest.exists():
            remove(target.old)


def mend(target: Target) -> bool:
    """Undo what a killed run left: a tree that was moved aside comes back, half-made ones go.

    Returns:
        Whether there was anything.
    """
    remains = [path for path in (target.fresh, target.old) if os.path.lexists(path)]
    if target.old in remains and not os.path.lexists(target.dest):
        target.old.rename(target.dest)
    for path in remains:
        remove(path)
    return bool(remains)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "artifact": {"type": "dict", "required": True},
            "dest": {"type": "path", "required": True},
            "kind": {"type": "str", "choices": ["file", "tree"], "default": "file"},
            "mode": {"type": "str", "default": "0755"},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "incoming": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params = module.params
    version = str(params["artifact"].get("version", ""))
    try:
        target = read_target(params)
        if not target.sha256 and not module.check_mode:
            module.fail_json(msg="artifact.sha256 is empty; pass on what picluster.cloud.artifacts returned")
        mended = False if module.check_mode else mend(target)
        before = present(target, Memo(MEMO, read_only=module.check_mode))
        changed = before != "as wanted"
        result = {
            "changed": changed or mended,
            "dest": str(target.dest),
            "version": version,
            "diff": {
                "before": f"{before}\n" if changed else "",
                "after": f"{version} sha256 {target.sha256 or 'not known yet'}\n" if changed else "",
                "before_header": str(target.dest),
                "after_header": str(target.dest),
            },
        }
        if changed and not module.check_mode:
            if before.startswith("mode "):
                target.dest.chmod(target.mode)
            elif params["incoming"]:
                sweep(Path(params["incoming"]), time.time())
                install(target, Path(params["incoming"]))
            else:
                result["wanted"] = True
    except ArtifactError as error:
        module.fail_json(msg=f"{params['dest']}: {error}")
    except OSError as error:
        module.fail_json(msg=f"{params['dest']} could not be put in place: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
