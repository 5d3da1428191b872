# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Judge the whole inventory on the controller, in one pass, before any node is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.files import InventoryFiles
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.rules import (
    SECRETS_FILE,
    Inventory,
    Problem,
    all_problems,
    mode_problem,
)
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.settings import fetch_problems, setting_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import Spec, is_decided_later
from ansible_collections.picluster.cloud.plugins.plugin_utils.k3s.record import describe_moved_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROLES = ("identity", "network", "ssh", "firewall", "raspberry", "updates", "reboot", "docker", "k3s", "hadoop")
LAYERS = {"k3s": ("k3s_server", "k3s_agent"), "hadoop": ("hadoop_master", "hadoop_worker")}
_ROLES_FOLDER = Path(__file__).resolve().parents[2] / "roles"


def role_entries(role: str, folder: Path = _ROLES_FOLDER) -> dict[str, dict[str, Spec]]:
    """Return the variables of each entry point of a role from its meta/argument_specs.yml."""
    # Ansible's own loader uses libyaml: all roles take 14 ms; PyYAML's pure Python takes 110 ms of each run.
    loaded = yaml_load((folder / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return {name: entry.get("options") or {} for name, entry in loaded["argument_specs"].items()}


def typed(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables of the command line as what they say: Ansible takes the true of -e reboot_all=true for a text.

    Roles take such a text for what it says, so that it is none of the mistakes of an inventory's quotes.
    """
    return {name: _read(value) if isinstance(value, str) else value for name, value in extra.items()}


def _read(text: str) -> object:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return found if isinstance(found, bool | int | float) else text


def sentences(problems: Iterable[Problem], inventory: Inventory, files: InventoryFiles) -> list[str]:
    """Return one sentence for each thing that is wrong, with file and line; what several nodes share is said once."""
    nodes = inventory.members("nodes")
    memberships: dict[str, list[str]] = {}
    # The smaller group is taken for the more specific one; all comes last by itself.
    for group in sorted(set(inventory.groups) - {"all", "ungrouped"}, key=lambda name: len(inventory.groups[name])):
        for host in inventory.groups[group]:
            memberships.setdefault(host, []).append(group)
    shared: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        place = None
        if problem.key:
            place = files.variable(problem.key, problem.node, memberships.get(problem.node, []))
        if place is None and problem.group:
            place = files.member(problem.node, problem.group) if problem.node else files.group(problem.group)
        if place is None and problem.file:
            place = files.file(problem.file)
        where = str(place) if place else "not in a file of the inventory (-e, perhaps)"
        shared.setdefault((where, problem.text), []).append(problem.node if problem.key else "")
    return [f"{where}: {_who(hosts, nodes)}{text}" for (where, text), hosts in shared.items()]


def _who(hosts: list[str], nodes: list[str]) -> str:
    if not hosts[0] or len(hosts) == len(nodes) > 1:
        return ""
    return f"{hosts[0]}: " if len(hosts) == 1 else f"{hosts[0]} and {len(hosts) - 1} more: "


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """The action behind picluster.cloud.inventory_check."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge the inventory; return the nodes and the architectures in use, or all that is wrong."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec({"layers": {"type": "path", "default": "layers.yml"}})
        variables = task_vars or {}
        hostvars = variables["hostvars"]
        groups = {str(name): [str(host) for host in hosts] for name, hosts in variables["groups"].items()}
        # Raw: templating every variable of every node would cost seconds and might fail on what is not wrong.
        extra = typed(load_extra_vars(self._loader))
        inventory = Inventory(groups, {node: {**hostvars.raw_get(node), **extra} for node in groups.get("nodes", [])})
        files = InventoryFiles([str(source) for source in variables.get("ansible_inventory_sources") or []])
        entries = {
            role: role_entries(role)
            for role in ROLES
            if (_ROLES_FOLDER / role / "meta" / "argument_specs.yml").exists()
        }
        # A name means the same in all entry points of a role.
        roles = {
            role: {name: spec for of in all_of.values() for name, spec in of.items()}
            for role, all_of in entries.items()
        }
        fetched = {role: all_of["fetch"] for role, all_of in entries.items() if "fetch" in all_of}
        problems = [
            *all_problems(inventory, roles, self._decided(arguments["layers"])),
            *setting_problems(inventory, roles),
            *fetch_problems(inventory, fetched, {**hostvars.raw_get("localhost"), **extra}),
            *_mode_problems(files),
            *_moved_server_problems(inventory),
        ]
        found = sentences(problems, inventory, files)
        if found:
            count = "one problem" if len(found) == 1 else f"{len(found)} problems"
            return {
                **result,
                "failed": True,
                "msg": "\n".join([f"The inventory has {count}; no node was touched.", *found]),
            }
        nodes = {node: _final(hostvars, node, raw, "node_address") for node, raw in inventory.variables.items()}
        return {
            **result,
            "changed": False,
            "nodes": nodes,
            "nodes_text": json.dumps(nodes),
            "archs": {
                layer: sorted(
                    {
                        _final(hostvars, node, inventory.variables[node], "node_arch")
                        for name in names
                        for node in groups.get(name, [])
                    }
                )
                for layer, names in LAYERS.items()
            },
        }

    def _decided(self, layers: str) -> list[str]:
        """Return the variables that the playbook's own vars file sets, none if it has no such file."""
        try:
            path = self._find_needle("vars", layers)
        except AnsibleError:
            return []
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return [name for name in loaded if isinstance(name, str)] if isinstance(loaded, dict) else []


def _final(hostvars: Mapping[str, Mapping[str, Any]], node: str, raw: Mapping[str, Any], key: str) -> str:
    """Return a node's value, templated or decrypted only where it has to be."""
    return str(hostvars[node][key] if is_decided_later(raw[key]) else raw[key])


def _moved_server_problems(inventory: Inventory) -> list[Problem]:
    folders = {str(raw["inventory_dir"]) for raw in inventory.variables.values() if raw.get("inventory_dir")}
    servers = inventory.members("k3s_server")
    first = next(iter(servers), "")
    text = describe_moved_server(servers, inventory.variables.get(first, {}), folders)
    return [Problem(text, node=first, group="k3s_server")] if text else []


def _mode_problems(files: InventoryFiles) -> list[Problem]:
    path = files.file(SECRETS_FILE).path
    if not path.exists() or path.read_bytes().startswith(b"$ANSIBLE_VAULT"):
        return []
    problem = mode_problem(path.stat().st_mode)
    return [problem] if problem else []
