# Copyright 2026 picluster contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).parents[2] / "ansible_collections/picluster/cloud/roles/k3s"


def load(name: str) -> Any:
    return yaml.safe_load((ROLE / name).read_text(encoding="utf-8"))


def test_every_default_is_specified_and_every_specified_default_is_the_same() -> None:
    defaults, specified = load("defaults/main.yml"), {}
    for entry in load("meta/argument_specs.yml")["argument_specs"].values():
        for name, option in entry["options"].items():
            assert name in defaults, name
            specified[name] = option
            if "default" in option:
                assert option["default"] == defaults[name], name
    assert set(defaults) == set(specified)


def test_every_default_is_in_the_readme() -> None:
    readme = (ROLE / "README.md").read_text(encoding="utf-8")
    assert [name for name in load("defaults/main.yml") if f"`{name}`" not in readme] == []


@pytest.mark.parametrize(
    ("arch", "binary", "sums"),
    [
        ("amd64", "k3s", "sha256sum-amd64.txt"),
        ("arm64", "k3s-arm64", "sha256sum-arm64.txt"),
        ("armhf", "k3s-armhf", "sha256sum-arm.txt"),
    ],
)
def test_released_names_of_each_architecture(arch: str, binary: str, sums: str) -> None:
    entry = load("vars/main.yml")["__k3s_binaries"][arch]
    assert entry["file"] == binary
    assert entry["url"].endswith(f"/{binary}")
    assert entry["checksum_url"].endswith(f"/{sums}")
    images = load("vars/main.yml")["__k3s_images"][arch]
    assert images["checksum_url"].endswith(f"/{sums}")
