"""Names in the inventory's files: hosts that YAML misreads, and variables whose beginning is misspelt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.files import InventoryFiles
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.names import meant_variable, misread_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory

if TYPE_CHECKING:
    from pathlib import Path

HOSTS = "all:\n  children:\n    nodes:\n      hosts:\n        red1:\n        {}:\n"
OWNERS = {"hadoop_": {"hadoop_vcores"}, "k3s_": {"k3s_version"}, "ssh_": {"ssh_settings"}, "node_": {"node_dns"}}


@pytest.mark.parametrize("name", ["yes", "No", "on", "5", "null", "0x1f"])
def test_a_host_name_that_yaml_misreads_is_named_although_ansible_rejects_its_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "10-nodes.yml").write_text(HOSTS.format(name), encoding="utf-8")
    files = InventoryFiles([str(tmp_path)])
    (problem,) = misread_problems(Inventory({"all": []}), files)
    assert problem.text.startswith(f"'{name}' is not a host name; expected one RFC 1123 label")
    assert str(files.member(problem.node, problem.group)).endswith("10-nodes.yml:6")


@pytest.mark.parametrize("name", ['"5"', "red[2:9]", "red2:2222"])
def test_a_host_that_ansible_reads_is_the_other_rules_matter(name: str, tmp_path: Path) -> None:
    (tmp_path / "10-nodes.yml").write_text(HOSTS.format(name), encoding="utf-8")
    files = InventoryFiles([str(tmp_path)])
    assert list(misread_problems(Inventory({"all": ["red1", "5"]}), files)) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("hadop_vcores", "hadoop_vcores"),
        ("sshd_settings", "ssh_settings"),
        ("nodes_dns", "node_dns"),
        ("k3_version", "k3s_version"),
        ("base_net", ""),
        ("spark_vcores", ""),
        ("hadop_colour", ""),
        ("name", ""),
        ("node_", ""),
    ],
)
def test_only_the_beginning_of_a_known_variable_is_taken_for_a_slip(name: str, meant: str) -> None:
    assert meant_variable(name, OWNERS) == meant
