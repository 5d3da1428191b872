# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The container image of the pod check: the node's own busybox, packed without Docker.

The format is `docker save`'s, which k3s imports at start from /var/lib/rancher/k3s/agent/images.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import struct
import subprocess
import tarfile
from pathlib import Path

IMAGE = "picluster.local/probe:1"
BUSYBOXES = (Path("/bin/busybox"), Path("/usr/bin/busybox"), Path("/var/lib/rancher/k3s/data/current/bin/busybox"))
_LDD_LINE = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$")
_POINTER_BITS_64 = 64


def libraries(ldd: str) -> list[Path]:
    """Return the paths of shared libraries and of the loader from ldd's output; none for a static program."""
    return [Path(match[1]) for line in ldd.splitlines() if (match := _LDD_LINE.match(line))]


def go_architecture(machine: str, bits: int) -> str:
    """Return the userland's architecture as images name it: a 64-bit kernel may run a 32-bit userland."""
    is_arm = machine.startswith(("arm", "aarch64"))
    if bits == _POINTER_BITS_64:
        return "arm64" if is_arm else "amd64"
    return "arm" if is_arm else "386"


def pack(members: dict[str, bytes], architecture: str) -> bytes:
    """Return an image archive; the same input gives the same bytes.

    Args:
        members: Executable files by path inside the image.
        architecture: As Go names it.
    """
    layer = _tar({name.lstrip("/"): data for name, data in members.items()}, mode=0o755)
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": ["/bin/busybox"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    )
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = _json([{"Config": name, "RepoTags": [IMAGE], "Layers": ["layer.tar"]}])
    return _tar({"manifest.json": manifest, name: config, "layer.tar": layer}, mode=0o644)


def build() -> bytes | None:
    """Return the image archive made of this node's busybox, or None if the node has none."""
    busybox = next((path for path in BUSYBOXES if path.is_file()), None)
    if busybox is None:
        return None
    # Not through a Node: the image is also built where there is no Ansible, in the test that runs it.
    listing = subprocess.run(["ldd", str(busybox)], capture_output=True, text=True, check=False).stdout
    members = {"/bin/busybox": busybox.read_bytes()} | {str(path): path.read_bytes() for path in libraries(listing)}
    return pack(members, go_architecture(platform.machine(), struct.calcsize("P") * 8))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _tar(members: dict[str, bytes], mode: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(members.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()
