# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.rules import parse_files
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import config
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import DEFAULT_MEMORY
from ansible_collections.picluster.cloud.plugins.plugin_utils.hadoop.checks import ARCHS
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory import specs

ROLE = Path(config.__file__).parents[3] / "roles/hadoop"


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROLE / name).read_text()))


def wanted_files(**given: Any) -> dict[str, Any]:
    """What the role hands to module artifacts, from its defaults and what is given."""
    values = read("defaults/main.yml") | read("vars/main.yml") | {"hadoop_archs": ["amd64", "arm64"]} | given
    for name in ("hadoop_url", "hadoop_checksum_url", "hadoop_archive_url"):
        values[name] = jinja2.Template(values[name]).render(values)
    text = jinja2.Template(values["__hadoop_files"], trim_blocks=True, lstrip_blocks=True).render(values)
    return dict(yaml.safe_load(text))


def test_a_release_that_left_the_mirrors_is_looked_for_in_apaches_archive() -> None:
    (_amd64, arm64) = parse_files("hadoop", "3.4.0", wanted_files(hadoop_version="3.4.0"))
    folder = "https://archive.apache.org/dist/hadoop/common/hadoop-3.4.0/hadoop-3.4.0-aarch64.tar.gz"
    assert (arm64.fallback_url, arm64.fallback_checksum_url) == (folder, f"{folder}.sha512")
    assert arm64.url.startswith("https://dlcdn.apache.org/hadoop/common/hadoop-3.4.0/")


def test_the_inventory_check_knows_the_architectures_of_the_releases() -> None:
    assert sorted(read("vars/main.yml")["__hadoop_suffix"]) == sorted(ARCHS)


def test_a_site_may_have_no_archive() -> None:
    for wanted in parse_files("hadoop", "3.5.0", wanted_files(hadoop_archive_url="")):
        assert (wanted.fallback_url, wanted.fallback_checksum_url) == ("", "")


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ({"arm64": "sha512:00", "amd64": "sha512:11"}, []),
        (
            {"arm46": "sha512:00"},
            ["hadoop_checksums.arm46 is not a key of hadoop_checksums; did you mean hadoop_checksums.arm64?"],
        ),
    ],
)
def test_a_mistyped_architecture_of_a_checksum_is_refused(value: dict[str, str], problems: list[str]) -> None:
    options = read("meta/argument_specs.yml")["argument_specs"]["fetch"]["options"]
    assert list(specs.value_problems("hadoop_checksums", options["hadoop_checksums"], value)) == problems


def test_a_wrong_value_that_may_hold_a_secret_is_not_quoted() -> None:
    options = read("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    for name in ("hadoop_properties", "hadoop_http_secret"):
        (problem,) = specs.value_problems(name, options[name], ["fs.s3a.secret.key: wJalrXUtnFEMI"])
        assert problem.startswith(f"{name} must be a ")
        assert problem.endswith(", got a value that is not shown")


def test_a_jobs_containers_fit_one_node_by_default() -> None:
    memory = read("defaults/main.yml")["hadoop_memory"]
    assert memory == DEFAULT_MEMORY
    assert memory["reduce"] == 768
    # An application master, a map and a reduce task side by side, in steps of the smallest container.
    assert memory["am"] + memory["map"] + memory["reduce"] <= memory["nodemanager"]
    assert [memory[name] % memory["minimum"] for name in ("am", "map", "reduce", "nodemanager")] == [0, 0, 0, 0]
    assert config.heap_of(memory["reduce"]) == 537
