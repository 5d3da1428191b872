# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Values of the right type that cannot work, found before any node is touched.

The modules check the same on the node, for users of a role who do not run the inventory check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import Spec, value_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.subjects import name_checks, value_checks
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.templated import is_templated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def _is_known(value: object) -> bool:
    """Return whether nothing in a value is templated."""
    if isinstance(value, (dict, list)):
        return all(map(_is_known, value.values() if isinstance(value, dict) else value))
    return not is_templated(value)


def _known(value: object) -> object:
    """Return a value without the entries of a mapping or a list that are templated."""
    if isinstance(value, dict):
        return {name: entry for name, entry in value.items() if _is_known(entry)}
    return [entry for entry in value if _is_known(entry)] if isinstance(value, list) else value


class _Checks:
    """The checks of one role."""

    def __init__(self, role: str, specs: Mapping[str, Spec]) -> None:
        self._specs = specs
        self._names, self._values = name_checks(role), value_checks(role)
        self.variables = [name for name in specs if name in self._names or name in self._values]

    def verdict(self, variable: str, value: Any) -> str:  # noqa: ANN401 - what the inventory has
        """Return one sentence about a value, empty if it can work; specs.py reports a wrong type."""
        spec = self._specs[variable]
        if is_templated(value) or next(value_problems(variable, spec, value), ""):
            return ""
        try:
            if variable in self._names:
                # YAML allows other types of names, too.
                self._names[variable]([str(name) for name in value])
            # In a mapping with fixed keys, one value can make the others right.
            if variable in self._values and (_is_known(value) or not spec.get("options")):
                self._values[variable](_known(value))
        except UserError as error:
            return _with_prefix(variable, str(error))
        return ""


def _with_prefix(variable: str, text: str) -> str:
    """Return a sentence that names a variable, from one that names the module's option, if it names any."""
    option = variable.partition("_")[2]
    if text.startswith(option):
        return variable.removesuffix(option) + text
    return text if text.startswith(variable) else f"{variable}: {text}"


def setting_problems(inventory: Inventory, roles: Mapping[str, Mapping[str, Spec]]) -> Iterator[Problem]:
    """Yield the values, right in type, that a module would refuse in the middle of the run."""
    checks = [_Checks(role, specs) for role, specs in roles.items()]
    # Most values are shared by all nodes: each is checked once.
    verdicts: dict[tuple[str, str], str] = {}
    for node, variables in inventory.variables.items():
        for subject in checks:
            for name in subject.variables:
                if name not in variables:
                    continue
                key = (name, repr(variables[name]))
                if key not in verdicts:
                    verdicts[key] = subject.verdict(name, variables[name])
                if verdicts[key]:
                    yield Problem(verdicts[key], key=name, node=node)


def fetch_problems(
    inventory: Inventory, fetched: Mapping[str, Mapping[str, Spec]], controller: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yield the settings of a node that the controller, which fetches once for all nodes, does not see.

    Args:
        inventory: The inventory.
        fetched: By role the variables with which the controller fetches.
        controller: The controller's own variables; it is in no group but all.
    """
    for node, variables in inventory.variables.items():
        for role, options in fetched.items():
            for name in options:
                if name in variables and (name not in controller or controller[name] != variables[name]):
                    yield Problem(
                        f"{name} is not visible to the controller, which fetches {role} once for all nodes; move it to "
                        "group_vars/all",
                        key=name,
                        node=node,
                    )
