# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).parents[3] / "ansible_collections/picluster/cloud/roles/k3s"


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


def test_settings_that_can_hold_secrets_travel_as_one_text_each() -> None:
    # As a mapping, each of its values would be masked for itself, all over the module's answer.
    options = next(task["picluster.cloud.k3s_node"] for task in load("tasks/main.yml") if "k3s_node" in str(task))
    for name in ("config", "registries", "containerd_template"):
        assert options[name] == f"{{{{ k3s_{name} | to_json if k3s_{name} | length > 0 else '' }}}}"


def test_verify_is_told_what_it_needs_and_not_what_was_fetched() -> None:
    options = load("tasks/verify.yml")[0]["picluster.cloud.k3s_check"]
    assert options["optional"] == "{{ k3s_optional }}"
    assert options["inventory_nodes"] == "{{ k3s_inventory_nodes }}"
    assert "k3s_artifact" not in str(options)
