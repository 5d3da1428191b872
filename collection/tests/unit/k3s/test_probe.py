# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The pod check's image is complete, the same every time, and of the userland's architecture."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.probe import IMAGE, go_architecture, libraries, pack


def test_probe_image_is_the_same_every_time_and_complete() -> None:
    members = {"/bin/busybox": b"program", "/lib/ld.so": b"loader"}
    data = pack(members, "arm64")
    assert data == pack(members, "arm64")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        content = {name: member.read() for name in tar.getnames() if (member := tar.extractfile(name))}
    manifest = json.loads(content["manifest.json"])[0]
    assert manifest["RepoTags"] == [IMAGE]
    settings = json.loads(content[manifest["Config"]])
    assert settings["architecture"] == "arm64"
    layer = content[manifest["Layers"][0]]
    assert settings["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert sorted(tar.getnames()) == ["bin/busybox", "lib/ld.so"]
        assert tar.getmember("bin/busybox").mode == 0o755


def test_libraries_of_a_program() -> None:
    text = (
        "\tlinux-vdso.so.1 (0x00007ffd)\n"
        "\tlibc.so.6 => /lib/aarch64-linux-gnu/libc.so.6 (0x00007f9c)\n"
        "\t/lib/ld-linux-aarch64.so.1 (0x00007f9d)\n"
    )
    assert [str(path) for path in libraries(text)] == [
        "/lib/aarch64-linux-gnu/libc.so.6",
        "/lib/ld-linux-aarch64.so.1",
    ]
    assert libraries("\tnot a dynamic executable\n") == []


@pytest.mark.parametrize(
    ("machine", "bits", "expected"),
    [("aarch64", 64, "arm64"), ("aarch64", 32, "arm"), ("armv7l", 32, "arm"), ("x86_64", 64, "amd64")],
)
def test_architecture_is_the_userlands(machine: str, bits: int, expected: str) -> None:
    assert go_architecture(machine, bits) == expected
