# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What the subjects declare for the inventory check, found by folder; no subject is named here.

A role declares the types of its variables in `roles/<role>/meta/argument_specs.yml`, and may declare:

- in `module_utils/<role>/checks.py`, by the variable's name without the role's prefix: `BOUNDS` of numbers (a dot leads
  to a key of a mapping), and functions that raise UserError, `CHECKS` for values of the right type and `NAMES` for the
  names in a mapping whose values may be anything;
- in `plugin_utils/<role>/checks.py`, functions of the inventory: `cluster_problems` for what concerns several nodes,
  and `setting_problems` for values that do not fit their node or cluster.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.common.yaml import yaml_load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import Spec
    from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem

_PLUGINS = Path(__file__).resolve().parents[2]
_ROLES = _PLUGINS.parent / "roles"
_PACKAGE = __name__.rpartition(".plugin_utils.")[0]


def read_specs() -> dict[str, dict[str, dict[str, Spec]]]:
    """Return by role and entry point the variables and their specifications."""
    # Ansible's own loader uses libyaml: all roles take 14 ms; PyYAML's pure Python takes 110 ms of each run.
    files = sorted(_ROLES.glob("*/meta/argument_specs.yml"))
    found = {path.parts[-3]: yaml_load(path.read_text(encoding="utf-8"))["argument_specs"] for path in files}
    # A role that declares no variables has none: its prefix is taken all the same.
    folders = sorted(path.name for path in _ROLES.iterdir() if path.is_dir())
    return {role: {name: entry.get("options") or {} for name, entry in found.get(role, {}).items()} for role in folders}


def declared(kind: str, roles: Iterable[str]) -> dict[str, Any]:
    """Return by variable what the roles declare of this kind: `BOUNDS`, `CHECKS` or `NAMES`."""
    found = ((role, _load("module_utils", role, kind) or {}) for role in roles)
    return {f"{role}_{option}": entry for role, entries in found for option, entry in entries.items()}


def cluster_problems(inventory: Inventory, roles: Iterable[str]) -> Iterator[Problem]:
    """Yield what the roles find wrong with the cluster as a whole."""
    yield from _problems("cluster_problems", inventory, roles)


def misfits(inventory: Inventory, roles: Iterable[str]) -> Iterator[Problem]:
    """Yield the settings that do not fit their node or cluster."""
    yield from _problems("setting_problems", inventory, roles)


def _problems(kind: str, inventory: Inventory, roles: Iterable[str]) -> Iterator[Problem]:
    for role in roles:
        check = _load("plugin_utils", role, kind)
        if check:
            yield from check(inventory)


def _load(library: str, role: str, name: str) -> Any:  # noqa: ANN401 - what the subject declares
    if not (_PLUGINS / library / role / "checks.py").exists():
        return None
    return getattr(importlib.import_module(f"{_PACKAGE}.{library}.{role}.checks"), name, None)
