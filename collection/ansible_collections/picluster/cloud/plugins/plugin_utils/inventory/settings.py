# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Values of the right type that cannot work, found before any node is touched.

The modules check the same on the node, for users of a role who do not run the inventory check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds, bounded
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import Spec, value_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.subjects import declared, misfits
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.templated import is_templated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Check = Callable[[Any], object]


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


def _with_prefix(variable: str, text: str) -> str:
    """Return a sentence that names a variable, from one that names the module's option, if it names any."""
    option = variable.partition("_")[2]
    if text.startswith(option):
        return variable.removesuffix(option) + text
    return text if text.startswith(variable) else f"{variable}: {text}"


def setting_problems(inventory: Inventory, roles: Mapping[str, Mapping[str, Spec]]) -> Iterator[Problem]:
    """Yield the values, right in type, that a module would refuse in the middle of the run."""
    names, values, bounds = (declared(kind, roles) for kind in ("NAMES", "CHECKS", "BOUNDS"))
    checked = {*names, *values, *(name.partition(".")[0] for name in bounds)}
    specs = {name: spec for options in roles.values() for name, spec in options.items() if name in checked}
    # Most values are shared by all nodes: each is checked once.
    verdicts: dict[tuple[str, str], list[str]] = {}
    for node, variables in inventory.variables.items():
        for name, spec in specs.items():
            if name not in variables:
                continue
            key = (name, repr(variables[name]))
            if key not in verdicts:
                verdicts[key] = list(_out_of_bounds(name, variables[name], bounds)) or list(
                    _refused(name, spec, variables[name], names.get(name), values.get(name))
                )
            for text in verdicts[key]:
                yield Problem(text, key=name, node=node)
    yield from misfits(inventory, roles)


def _out_of_bounds(variable: str, value: object, bounds: Mapping[str, Bounds]) -> Iterator[str]:
    """Yield one sentence for each number in a value that is out of its bounds; specs.py reports a wrong type."""
    own = {name: one for name, one in bounds.items() if name.partition(".")[0] == variable}
    for name, one, number in bounded(own, {variable: value}):
        if isinstance(number, int) and not isinstance(number, bool):
            try:
                one.check(name, number)
            except UserError as error:
                yield str(error)


def _refused(variable: str, spec: Spec, value: Any, check_names: Check | None, check: Check | None) -> Iterator[str]:  # noqa: ANN401 - what the inventory has
    """Yield one sentence about a value that the subject's checks refuse; specs.py reports a wrong type."""
    if is_templated(value) or next(value_problems(variable, spec, value), ""):
        return
    try:
        if check_names:
            # YAML allows other types of names, too.
            check_names([str(name) for name in value])
        # In a mapping with fixed keys, one value can make the others right.
        if check and (_is_known(value) or not spec.get("options")):
            check(_known(value))
    except UserError as error:
        yield _with_prefix(variable, str(error))


def fetch_problems(
    inventory: Inventory, fetched: Mapping[str, Mapping[str, Spec]], controller: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yield the settings of a node that the controller, which fetches once for all nodes, does not see.

    `fetched` has by role the variables with which the controller fetches, `controller` the controller's own variables;
    it is in no group but all.
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
