# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Strict checks of values against a role's argument specification.

Ansible's own validation of role arguments knows no unknown variables, converts before it judges without handing on what
it converted, and takes a mapping for a text (measured on ansible-core 2.19.14). So `"24"` passes as a number and fails
later.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.templated import is_templated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Spec = dict[str, Any]
# The name of the inventory's rules for it.
is_decided_later = is_templated
_LONGEST = 60
_WANTED = {
    "str": "a text",
    "path": "a path",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping of keys to values",
}


def shown(value: object) -> str:
    """Return a value as one short text that tells its type as well."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    kind = (
        "the text "
        if isinstance(value, str)
        else "the list "
        if isinstance(value, list)
        else "the mapping "
        if isinstance(value, dict)
        else ""
    )
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return kind + (text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the name most like `name`, or an empty text if none is."""
    return next(iter(difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)), "")


def wrong_name(name: str, names: Iterable[str], owner: str) -> str:
    """Return a sentence about a name that `owner` does not have."""
    guess = nearest(name, names)
    return f"{name} is not a variable of {owner}" + (
        f", did you mean {guess}?" if guess else ": take it out or see its README for the right name"
    )


def _fits(kind: str, value: object) -> bool:
    if kind in {"str", "path"}:
        return isinstance(value, str)
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in {"list", "dict"}:
        return isinstance(value, list if kind == "list" else dict)
    return True


def _hint(kind: str, value: object) -> str:
    if kind in {"str", "path"} and isinstance(value, (bool, int, float)):
        return ": put it into quotes"
    if kind in {"int", "float", "bool"} and isinstance(value, str):
        return " without quotes"
    if kind == "list" and isinstance(value, str):
        return f": write [{value}]"
    return ""


def value_problems(name: str, spec: Mapping[str, Any], value: object) -> Iterator[str]:
    """Yield one sentence for each thing that is wrong with a value.

    Args:
        name: the variable's name, with the path inside it.
        spec: its entry in an argument specification (type, choices, elements, options, no_log; with `default: null` it
            may be null, which then means something).
        value: the value as the inventory has it, not templated.
    """
    if is_decided_later(value) or (value is None and spec.get("default", "") is None):
        return
    kind = str(spec.get("type", "str"))
    found = "hidden here" if spec.get("no_log") else shown(value)
    if not _fits(kind, value):
        yield f"{name} is {found}, wanted is {_WANTED.get(kind, kind)}{_hint(kind, value)}"
        return
    choices = spec.get("choices")
    for one in value if isinstance(value, list) else [value]:
        if choices and not is_decided_later(one) and one not in choices:
            guess = nearest(str(one), map(str, choices))
            yield f"{name} is {found}, wanted is one of {', '.join(map(str, choices))}" + (
                f" (did you mean {guess}?)" if guess else ""
            )
            return
    if isinstance(value, list):
        element: Spec = {
            "type": spec.get("elements", "raw"),
            "options": spec.get("options"),
            "no_log": spec.get("no_log"),
        }
        for i, one in enumerate(value):
            yield from value_problems(f"{name}[{i}]", element, one)
    elif isinstance(value, dict) and spec.get("options"):
        yield from _mapping_problems(name, spec["options"], value)


def _mapping_problems(name: str, options: Mapping[str, Spec], value: Mapping[str, Any]) -> Iterator[str]:
    for key, one in value.items():
        if key in options:
            yield from value_problems(f"{name}.{key}", options[key], one)
        else:
            yield wrong_name(f"{name}.{key}", [f"{name}.{option}" for option in options], name)
    for key, option in options.items():
        if option.get("required") and key not in value:
            yield f"{name}.{key} is missing, wanted is {_WANTED.get(str(option.get('type', 'str')), 'a value')}"
