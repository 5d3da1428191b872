# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What is asked for, and checksums as publishers write them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.rules import (
    parse_checksum_file,
    parse_files,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.forms import parse_checksum

A, B = "a" * 64, "b" * 64
LONG = "c" * 128


@pytest.mark.parametrize(
    ("text", "file", "expected"),
    [
        (f"{A}  k3s\n{B}  k3s-airgap-images-amd64.tar\n", "k3s", f"sha256:{A}"),
        (f"{A} *k3s-armhf\n", "k3s-armhf", f"sha256:{A}"),
        (f"{A}  ./dist/k3s-arm64\n", "k3s-arm64", f"sha256:{A}"),
        (f"{A.upper()}  k3s\r\n", "k3s", f"sha256:{A}"),
        (f"SHA512 (hadoop-3.4.3.tar.gz) = {LONG}\n", "hadoop-3.4.3.tar.gz", f"sha512:{LONG}"),
        (f"SHA512 (hadoop-3.3.6-RC1.tar.gz) = {LONG}\n", "hadoop-3.3.6.tar.gz", f"sha512:{LONG}"),
        (f"SHA256 (a) = {A}\nSHA256 (b) = {B}\n", "b", f"sha256:{B}"),
        (f"{LONG}\n", "anything", f"sha512:{LONG}"),
    ],
)
def test_publishers_formats_are_read(text: str, file: str, expected: str) -> None:
    assert str(parse_checksum_file(text, file)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>not found</html>\n",
        f"{A}  k3s-arm64\n",
        f"{A}  not-k3s\n{B}  k3s-armhf\n",
        f"SHA256 (a) = {A}\nSHA256 (b) = {B}\n",
        "d41d8cd98f00b204e9800998ecf8427e  k3s\n",
    ],
)
def test_a_checksum_file_without_our_file_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no line for k3s"):
        parse_checksum_file(text, "k3s")


@pytest.mark.parametrize("text", ["md5:" + "a" * 32, "sha512:" + A, "", "sha256:", "z" * 64, "a" * 65])
def test_a_weak_or_malformed_checksum_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"the checksum is invalid: .*expected sha256"):
        parse_checksum(text)


@pytest.mark.parametrize(
    ("name", "version", "entry", "message"),
    [
        ("k3s", "v1", "k3s-arm64", "files.arm64 must be a dictionary"),
        ("k3s", "v1", {"file": "x", "sha256": "y"}, "files.arm64 must be a dictionary"),
        ("k3s", "v1", {"url": "x"}, "files.arm64.file is invalid: ''"),
        ("k3s", "v1", {"file": "../x"}, "plain name"),
        ("k3s", "v1", {"file": "x", "checksum": "md5:1"}, "the checksum is invalid"),
        ("k3s", "v1", {"file": "x", "checksum_url": "http://x/sums"}, "is not https"),
        ("k3s", "v1", {"file": "x", "fallback_checksum_url": "http://x/sums"}, "fallback_checksum_url is not https"),
        ("../k3s", "v1", {"file": "x"}, "name is invalid: '../k3s'"),
        ("k3s", "v1/..", {"file": "x"}, "version is invalid: 'v1/..'"),
    ],
)
def test_bad_settings_are_named(name: str, version: str, entry: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_files(name, version, {"arm64": entry})
