"""The inventory check: one data file for each kind of mistake, with the sentence that it must report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ansible_collections.picluster.cloud.plugins.action import inventory_check
from ansible_collections.picluster.cloud.plugins.action.inventory_check import ActionModule
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

DATA = Path(__file__).parents[1] / "data" / "inventory_check"
# One appended line each, and the sentence about it.
REFUSED = yaml.safe_load((DATA / "refused.yml").read_text(encoding="utf-8"))
LAYERS = "docker_state: present\nidentity_hostname: x\n"


def inventory(folder: Path, case: dict[str, Any]) -> Path:
    """Copy the good inventory to `folder` and make the case's mistake in it."""
    shutil.copytree(DATA / "good", folder)
    for name, text in case.get("change", {}).items():
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    for name, text in case.get("append", {}).items():
        (folder / name).write_text((folder / name).read_text(encoding="utf-8") + text, encoding="utf-8")
    for name, (old, new) in case.get("replace", {}).items():
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    if (folder / "group_vars/all/secrets.yml").exists():
        (folder / "group_vars/all/secrets.yml").chmod(0o600)
    for name, mode in case.get("mode", {}).items():
        (folder / name).chmod(int(mode, 8))
    return folder


def run(folder: Path, tmp_path: Path, limit: str | None = None, **arguments: Any) -> dict[str, Any]:
    """Run the action plugin on an inventory as Ansible reads it."""
    (tmp_path / "vars").mkdir(exist_ok=True)
    (tmp_path / "vars" / "layers.yml").write_text(LAYERS, encoding="utf-8")
    loader = DataLoader()
    loader.set_basedir(str(tmp_path))
    manager = InventoryManager(loader, sources=[str(folder)])
    manager.subset(limit)
    variables = VariableManager(loader, manager)
    task = MagicMock(args=arguments, async_val=0, check_mode=True)
    task.get_search_path.return_value = [str(tmp_path)]
    action = ActionModule(task, MagicMock(), MagicMock(check_mode=True), loader, MagicMock(), MagicMock())
    result: dict[str, Any] = action.run(
        task_vars={
            "hostvars": HostVars(manager, variables, loader),
            "groups": manager.get_groups_dict(),
            "ansible_inventory_sources": [str(folder)],
            "ansible_play_hosts_all": ["localhost", *(host.name for host in manager.get_hosts())],
        }
    )
    return result


@pytest.mark.parametrize("case", sorted((DATA / "cases").glob("*.yml")), ids=lambda path: path.stem)
def test_every_kind_of_mistake_is_named_with_file_line_and_remedy(case: Path, tmp_path: Path) -> None:
    data = yaml.safe_load(case.read_text(encoding="utf-8"))
    folder = inventory(tmp_path / "red", data)
    result = run(folder, tmp_path)
    assert result["failed"]
    head, *found = result["msg"].splitlines()
    assert found == [f"{folder}/{sentence.replace('<folder>', str(folder))}" for sentence in data["expect"]]
    assert (
        head
        == f"The inventory has {'one problem' if len(found) == 1 else f'{len(found)} problems'}; no node was touched."
    )


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: str(row["set"])[:40])
def test_a_value_that_cannot_work_is_refused_before_any_node_is_touched(row: dict[str, Any], tmp_path: Path) -> None:
    folder = inventory(tmp_path / "red", {"append": {"group_vars/all/cluster.yml": f"{row['set']}\n"}})
    result = run(folder, tmp_path)
    assert result["failed"]
    assert result["msg"].splitlines()[1:] == [f"{folder}/group_vars/all/cluster.yml:8: {row['says']}"]


def test_a_good_inventory_gives_the_nodes_and_the_architectures_of_each_layer(tmp_path: Path) -> None:
    result = run(inventory(tmp_path / "red", {}), tmp_path)
    assert "failed" not in result
    assert result["nodes"] == {"red1": "192.168.63.11", "red2": "192.168.63.12", "red3": "192.168.63.13"}
    assert json.loads(result["nodes_text"]) == result["nodes"]
    assert result["archs"] == {"k3s": ["arm64", "armhf"], "hadoop": ["arm64"]}
    assert result["changed"] is False


def test_templates_are_not_checked_but_resolved_for_the_result(tmp_path: Path) -> None:
    case = {
        "replace": {
            "10-nodes.yml": ["192.168.63.12}", "'{{ base_net }}.12'}"],
            "group_vars/all/cluster.yml": ["cluster_name: red", "cluster_name: red\nbase_net: 192.168.63"],
        }
    }
    result = run(inventory(tmp_path / "red", case), tmp_path)
    assert result["nodes"]["red2"] == "192.168.63.12"


def test_settings_that_work_or_are_not_known_yet_pass(tmp_path: Path) -> None:
    settings = """\
k3s_version: v1.35.1+k3s1
k3s_airgap_images: true
k3s_limit_nofile: 65536
k3s_config: {disable: [traefik], token-ttl: "{{ x }}"}
hadoop_memory: {am: 9999, nodemanager: "{{ x }}"}
hadoop_properties: {core-site: "{{ x }}", hdfs-site: {dfs.namenode.handler.count: 20}}
ssh_settings: {MaxAuthTries: 3, Banner: "{{ x }}", IgnoreRhosts: }
ssh_operators: {pi: {keys: ["{{ x }}"]}, lea: "{{ x }}"}
ssh_exempt: [192.168.63.0/24, "{{ x }}"]
network_parking: 192.168.63.240-192.168.63.250
"""
    folder = inventory(tmp_path / "red", {"append": {"group_vars/all/cluster.yml": settings}})
    assert "failed" not in run(folder, tmp_path)


def test_what_discover_read_from_boards_passes_and_so_do_nodes_behind_one_address(tmp_path: Path) -> None:
    board = (
        'node_mac: "10:20:30:40:50:59", node_serial: "1000000012345678", node_model: "Raspberry Pi 5 Model B Rev 1.0"'
    )
    gateway = "ansible_host: gate.example.org, ansible_port: "
    replaced = {"10-nodes.yml": ["192.168.63.12}", f"192.168.63.12, {board}, {gateway}2202}}"]}
    folder = inventory(tmp_path / "red", {"replace": replaced})
    text = (folder / "10-nodes.yml").read_text(encoding="utf-8")
    (folder / "10-nodes.yml").write_text(text.replace("192.168.63.11}", f"192.168.63.11, {gateway}2201}}"))
    assert "failed" not in run(folder, tmp_path)


def test_variables_of_the_command_line_have_the_type_they_spell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = inventory(tmp_path / "red", {})
    said = {"reboot_all": "true", "reboot_batch": "2", "updates_state": "none"}
    monkeypatch.setattr(load_extra_vars, "extra_vars", said, raising=False)
    assert "failed" not in run(folder, tmp_path)
    monkeypatch.setattr(load_extra_vars, "extra_vars", {**said, "reboot_batch": "two: [", "reboot_all": "on fire"})
    where = "outside the inventory's files (perhaps -e)"
    assert run(folder, tmp_path)["msg"].splitlines()[1:] == [
        f'{where}: reboot_all must be true or false, got the string "on fire"',
        f'{where}: reboot_batch must be an integer, got the string "two: ["',
    ]


def test_a_node_may_still_be_where_another_is_to_be(tmp_path: Path) -> None:
    replaced = {"10-nodes.yml": ["192.168.63.12}", "192.168.63.12, ansible_host: 192.168.63.11}"]}
    assert "failed" not in run(inventory(tmp_path / "red", {"replace": replaced}), tmp_path)


def test_the_secret_is_never_shown(tmp_path: Path) -> None:
    case = {"change": {"group_vars/all/secrets.yml": "cluster_secret: hunter2\n"}}
    assert "hunter2" not in str(run(inventory(tmp_path / "red", case), tmp_path))


def test_a_vaulted_secrets_file_may_have_any_mode_and_a_vaulted_value_is_not_checked(tmp_path: Path) -> None:
    vaulted = "cluster_secret: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  61626364\n"
    folder = inventory(tmp_path / "red", {"change": {"group_vars/all/secrets.yml": vaulted}})
    assert "failed" not in run(folder, tmp_path)


def test_two_hundred_nodes_share_one_sentence(tmp_path: Path) -> None:
    lines = "".join(
        f"        red{i}: {{node_address: 192.168.{60 + i // 200}.{i % 200 + 11}}}\n" for i in range(1, 201)
    )
    case = {
        "change": {
            "10-nodes.yml": f"all:\n  children:\n    nodes:\n      hosts:\n{lines}",
            "group_vars/all/cluster.yml": (DATA / "good/group_vars/all/cluster.yml")
            .read_text(encoding="utf-8")
            .replace("node_prefix: 24", "node_prefix: 20")
            .replace("node_interface: eth0", "node_interface: [eth0]"),
        }
    }
    result = run(inventory(tmp_path / "red", case), tmp_path)
    assert result["msg"].count("\n") == 1
    assert "cluster.yml:3: node_interface must be a string, got the list ['eth0']" in result["msg"]


def test_a_server_that_moves_away_from_its_clusters_data_is_refused(tmp_path: Path) -> None:
    moved = {
        "20-roles.yml": [
            "k3s_server: {hosts: {red1: }}\n    k3s_agent: {hosts: {red2: ,",
            "k3s_server: {hosts: {red2: }}\n    k3s_agent: {hosts: {red1: ,",
        ]
    }
    folder = inventory(tmp_path / "red", {"replace": moved})
    assert "failed" not in run(folder, tmp_path)
    (folder / "seen.json").write_text('{"red1": {"k3s_server_data": true}}', encoding="utf-8")
    result = run(folder, tmp_path)
    assert result["failed"]
    (sentence,) = result["msg"].splitlines()[1:]
    assert sentence.startswith(f"{folder}/20-roles.yml:5: k3s_server has red2, but red1 was the server and holds")
    with (folder / "group_vars/all/cluster.yml").open("a", encoding="utf-8") as file:
        file.write("k3s_give_up_cluster: red1\n")
    assert "failed" not in run(folder, tmp_path)


def test_a_layer_that_is_declared_wrongly_is_reported_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise UserError("roles/hello/meta/layer.yml: layer.order is missing")

    monkeypatch.setattr(inventory_check, "read_layers", fail)
    result = run(inventory(tmp_path / "red", {}), tmp_path)
    assert (result["failed"], result["msg"]) == (True, "roles/hello/meta/layer.yml: layer.order is missing")


def test_a_slip_that_removes_a_layer_stops_before_any_node_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slip = {"20-roles.yml": ["docker: {children: {nodes: }}", "docker: {hosts: {red1: }}"]}
    folder = inventory(tmp_path / "red", {"replace": slip})
    assert "failed" not in run(folder, tmp_path)
    record = {name: {"layers": ["docker"]} for name in ("red1", "red2", "red3")}
    (folder / "seen.json").write_text(json.dumps(record), encoding="utf-8")
    result = run(folder, tmp_path)
    assert result["failed"]
    (sentence,) = result["msg"].splitlines()[1:]
    assert sentence.startswith(f"{folder}/20-roles.yml:4: docker would be removed from red2, red3; put them back")
    # A restart removes no layer.
    assert "failed" not in run(folder, tmp_path, removals=False)
    # With --limit only the nodes of the run count.
    assert "failed" not in run(folder, tmp_path, limit="red1,red2")
    assert "failed" in run(folder, tmp_path, limit="red2,red3")
    monkeypatch.setattr(load_extra_vars, "extra_vars", {"confirm_removal": "docker"}, raising=False)
    assert "failed" not in run(folder, tmp_path)
