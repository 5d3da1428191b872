# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What each layer declares in `roles/<layer>/meta/layer.yml`; no layer is named here.

The bootstrap reads `order`, and of each group `description` and `initial`, for the groups of a new inventory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ansible.module_utils.common.yaml import yaml_load

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import Spec, value_problems, wrong_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Groups = Mapping[str, Sequence[str]]

_ROLES = Path(__file__).resolve().parents[3] / "roles"
_TEXTS: Spec = {"type": "list", "elements": "str"}
_GROUP: dict[str, Spec] = {
    "description": {"type": "str", "required": True},
    # Its nodes in a new inventory; others_or_first are the others, or the first node if it is alone.
    "initial": {"type": "str", "choices": ["all", "first", "others", "others_or_first"], "required": True},
    # The largest number of nodes, and what to do about more.
    "most": {"type": "int"},
    "too_many": {"type": "str"},
    # Its nodes restart one at a time, after all others.
    "restart": {"type": "str", "choices": ["last"]},
}
_LAYER: dict[str, Spec] = {
    # Among the layers, in groups of a new inventory, in the summary and in verify.
    "order": {"type": "int", "required": True},
    "groups": {"type": "dict", "required": True},
    # Columns of the summary: the values of `layer` in picluster_status of a task's result.
    "columns": {**_TEXTS, "required": True},
    # The group whose nodes run `tasks_from: verify`, each of them or only the first.
    "verify": {"type": "dict", "options": {"each": {"type": "str"}, "first": {"type": "str"}}, "required": True},
    # Whether the layer's nodes have `tasks_from: health`.
    "health": {"type": "bool"},
    # The group whose first node drains a node before its restart.
    "drain": {"type": "str"},
    # Units that prevent an immediate restart of a node while one of them is active.
    "busy_units": _TEXTS,
    # Whether the controller downloads something for each architecture, with `tasks_from: fetch`.
    "fetch": {"type": "bool"},
}
# The task files of the role behind a key; `verify` is required.
_FILES = {"verify": ["verify"], "health": ["health"], "drain": ["cordoned", "drain", "uncordon"], "fetch": ["fetch"]}


@dataclass(frozen=True)
class Layer:
    """A layer: the name of its role, and what it declares."""

    name: str
    declared: Mapping[str, Any]

    @property
    def groups(self) -> dict[str, dict[str, Any]]:
        """Return what is declared of each group."""
        return dict(self.declared["groups"])

    def members(self, groups: Groups) -> list[str]:
        """Return the nodes that have the layer, each once."""
        return list(dict.fromkeys(node for name in self.groups for node in groups.get(name, ())))

    def verifiers(self, groups: Groups) -> list[str]:
        """Return the nodes that run the layer's verification."""
        (which, group) = next(iter(self.declared["verify"].items()))
        return list(groups.get(group, ()))[: 1 if which == "first" else None]

    def drained_on(self, groups: Groups) -> str:
        """Return the node that drains others; empty if the layer does not drain, or has no such node."""
        return next(iter(groups.get(self.declared.get("drain", ""), ())), "")

    def restarts_last(self, node: str, groups: Groups) -> bool:
        """Return whether a node restarts after all ordinary nodes because of this layer."""
        return any(
            group.get("restart") == "last" and node in groups.get(name, ()) for name, group in self.groups.items()
        )


# The summary reads them before Ansible forks its workers, which then need not: 2 ms for each lookup on each node.
@cache
def read_layers(roles: Path = _ROLES) -> tuple[Layer, ...]:
    """Return the layers in their order.

    Raises:
        UserError: a declaration is invalid.
    """
    found = [_read(path) for path in sorted(roles.glob("*/meta/layer.yml"))]
    owners: dict[str, str] = {}
    for layer in found:
        for group in layer.groups:
            if owners.setdefault(group, layer.name) != layer.name:
                raise UserError(f"{_shown(layer.name)}: the group {group} is already declared by {owners[group]}")
    return tuple(sorted(found, key=lambda layer: (layer.declared["order"], layer.name)))


def _read(path: Path) -> Layer:
    name = path.parts[-3]
    try:
        declared = yaml_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{_shown(name)} is not valid YAML: {' '.join(str(error).split())}") from error
    problem = next(_problems(declared, path.parents[1]), "")
    if problem:
        raise UserError(f"{_shown(name)}: {problem}")
    return Layer(name, declared)


def _shown(layer: str) -> str:
    return f"roles/{layer}/meta/layer.yml"


def _problems(declared: Any, role: Path) -> Iterator[str]:  # noqa: ANN401 - what the file has
    """Yield what is wrong with a declaration; each problem may be the cause of the next ones."""
    yield from value_problems("layer", {"type": "dict", "options": _LAYER}, declared)
    for name, group in declared["groups"].items():
        yield from value_problems(f"layer.groups.{name}", {"type": "dict", "options": _GROUP}, group)
    if len(declared["verify"]) != 1:
        yield "layer.verify must have one key: each or first, with the group whose nodes verify the layer"
    verify = {f"verify.{which}": group for which, group in declared["verify"].items()}
    for key, group in {**verify, "drain": declared.get("drain")}.items():
        if group and group not in declared["groups"]:
            yield f"layer.{key}: {wrong_name(group, declared['groups'], f'a group of {role.name}')}"
    for key, files in _FILES.items():
        for file in files if declared.get(key) else ():
            if not (role / "tasks" / f"{file}.yml").exists():
                yield f"layer.{key} needs roles/{role.name}/tasks/{file}.yml, which does not exist; add it"


def _names(applies: Callable[[Layer, str, Groups], bool]) -> Callable[[Sequence[Layer], str, Groups], list[Any]]:
    return lambda layers, node, groups: [layer.name for layer in layers if applies(layer, node, groups)]


# What playbooks ask for a node (lookup picluster.cloud.layers).
QUESTIONS: dict[str, Callable[[Sequence[Layer], str, Groups], list[Any]]] = {
    "verify": _names(lambda layer, node, groups: node in layer.verifiers(groups)),
    "health": _names(lambda layer, node, groups: bool(layer.declared.get("health")) and node in layer.members(groups)),
    "restart_last": _names(lambda layer, node, groups: layer.restarts_last(node, groups)),
    "drain": lambda layers, _node, groups: [
        {"layer": layer.name, "node": layer.drained_on(groups)} for layer in layers if layer.drained_on(groups)
    ],
    "busy_units": lambda layers, _node, _groups: [
        unit for layer in layers for unit in layer.declared.get("busy_units", [])
    ],
}
