# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Check the whole inventory on the controller, in one pass, before any node is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.files import InventoryFiles
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.layers import read_layers
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.names import misread_problems, stray_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.removals import removal_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.rules import (
    SECRETS_FILE,
    all_problems,
    mode_problem,
)
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.settings import fetch_problems, setting_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.subjects import read_specs
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.tags import check_tags
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.templated import is_templated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def typed(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables of the command line by type: Ansible reads the true of -e reboot_all=true as a string.

    Roles convert such a string, so it is not the mistake that quotes in the inventory are.
    """
    return {name: _read(value) if isinstance(value, str) else value for name, value in extra.items()}


def _read(text: str) -> object:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return found if isinstance(found, bool | int | float) else text


def sentences(problems: Iterable[Problem], inventory: Inventory, files: InventoryFiles) -> list[str]:
    """Return one sentence for each mistake, with file and line; one that several nodes share is reported once."""
    nodes = inventory.members("nodes")
    memberships: dict[str, list[str]] = {}
    # The smaller group counts as the more specific one; all comes last by itself.
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
        where = str(place) if place else "outside the inventory's files (perhaps -e)"
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
        """Check the inventory; return the nodes and the architectures in use, or all mistakes."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {"layers": {"type": "path", "default": "layers.yml"}, "removals": {"type": "bool", "default": True}}
        )
        try:
            layers = read_layers()
        except UserError as error:
            return {**result, "failed": True, "msg": str(error)}
        variables = task_vars or {}
        hostvars = variables["hostvars"]
        groups = {str(name): [str(host) for host in hosts] for name, hosts in variables["groups"].items()}
        # Raw: templating every variable of every node would take seconds and might fail where nothing is wrong.
        extra = typed(load_extra_vars(self._loader))
        inventory = Inventory(groups, {node: {**hostvars.raw_get(node), **extra} for node in groups.get("nodes", [])})
        files = InventoryFiles([str(source) for source in variables.get("ansible_inventory_sources") or []])
        entries = read_specs()
        # A name means the same in all entry points of a role.
        roles = {
            role: {name: spec for options in points.values() for name, spec in options.items()}
            for role, points in entries.items()
        }
        for option, key in (("--tags", "ansible_run_tags"), ("--skip-tags", "ansible_skip_tags")):
            mistake, warning = check_tags(option, variables.get(key, []), roles)
            if mistake:
                return {**result, "failed": True, "msg": mistake}
            if warning:
                Display().warning(warning)
        fetched = {role: points["fetch"] for role, points in entries.items() if "fetch" in points}
        # Ansible rejects a file with such a name, and without its hosts everything else looks wrong.
        problems = list(misread_problems(inventory, files)) or [
            *all_problems(inventory, roles, layers, self._decided(arguments["layers"])),
            *setting_problems(inventory, roles),
            *fetch_problems(inventory, fetched, {**hostvars.raw_get("localhost"), **extra}),
            *stray_problems(inventory, files, [group for layer in layers for group in layer.groups]),
            *mode_problem(files.file(SECRETS_FILE).path),
        ]
        if arguments["removals"]:
            # With --limit the nodes of the play; a play of the controller alone stands for all.
            reached = set(variables.get("ansible_play_hosts_all", [])) & set(inventory.variables)
            problems += removal_problems(inventory, layers, reached or inventory.variables, extra)
        found = sentences(problems, inventory, files)
        if found:
            count = "one problem" if len(found) == 1 else f"{len(found)} problems"
            message = "\n".join([f"The inventory has {count}; no node was touched.", *found])
            return {**result, "failed": True, "msg": message}
        nodes = {node: _final(hostvars, node, raw, "node_address") for node, raw in inventory.variables.items()}
        archs = {
            layer.name: sorted(
                {_final(hostvars, node, inventory.variables[node], "node_arch") for node in layer.members(groups)}
            )
            for layer in layers
            if layer.declared.get("fetch")
        }
        return {**result, "changed": False, "nodes": nodes, "nodes_text": json.dumps(nodes), "archs": archs}

    def _decided(self, layers: str) -> list[str]:
        """Return the variables that the playbook's own vars file sets, none if it has no such file."""
        try:
            path = self._find_needle("vars", layers)
        except AnsibleError:
            return []
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return [name for name in loaded if isinstance(name, str)] if isinstance(loaded, dict) else []


def _final(hostvars: Mapping[str, Mapping[str, Any]], node: str, raw: Mapping[str, Any], key: str) -> str:
    """Return a node's value, templated or decrypted only where necessary."""
    return str(hostvars[node][key] if is_templated(raw[key]) else raw[key])
