# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Strict checks of values against a role's argument specification.

Ansible's own validation of role arguments ignores unknown variables, converts a value before it checks it without
passing on what it converted, and accepts a mapping as a string (measured on ansible-core 2.19.14). So `"24"` passes as
a number and fails later.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.templated import is_templated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Spec = dict[str, Any]
_LONGEST = 60
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "str": (str, "a string"),
    "path": (str, "a path"),
    "int": (int, "an integer"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "list": (list, "a list"),
    "dict": (dict, "a mapping"),
}
# YAML's booleans; Ansible reads the same texts as such in a variable of the command line.
_BOOLEANS = {"true", "false", "yes", "no", "on", "off"}


def shown(value: object) -> str:
    """Return a value for a message, shortened, with its type where the text alone does not show it."""
    if value is None:
        return "an empty value"
    if isinstance(value, bool):
        return str(value).lower()
    names = {str: "the string ", list: "the list ", dict: "the mapping "}
    kind = next((name for of, name in names.items() if isinstance(value, of)), "")
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return kind + (text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the name most similar to `name`, or an empty text if none is."""
    return next(iter(difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)), "")


def wrong_name(name: str, names: Iterable[str], kind: str) -> str:
    """Return a sentence about a name that is not one of `names`, which are of this kind ("a variable of ...")."""
    guess = nearest(name, names)
    return f"{name} is not {kind}; " + (f"did you mean {guess}?" if guess else "remove it, or correct its name")


def _fits(kind: str, value: object) -> bool:
    expected = _KINDS.get(kind, (object,))[0]
    # To Python, but not to YAML, true is a number.
    return isinstance(value, expected) and (expected in (bool, object) or not isinstance(value, bool))


def _hint(kind: str, value: object) -> str:
    if kind in {"str", "path"} and isinstance(value, (bool, int, float)):
        return "; put it in quotes"
    if isinstance(value, str):
        if kind == "list":
            return f"; write [{value}]"
        if (kind == "bool" and value.lower() in _BOOLEANS) or (kind in {"int", "float"} and _is_number(value)):
            return "; remove the quotes"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def value_problems(name: str, spec: Mapping[str, Any], value: object) -> Iterator[str]:
    """Yield one sentence for each mistake in a value, as the inventory has it, not templated.

    `name` includes the path inside the variable; `spec` is its entry in an argument specification (with `default: null`
    null is a value like others).
    """
    if is_templated(value) or (value is None and spec.get("default", "") is None):
        return
    kind = str(spec.get("type", "str"))
    secret = spec.get("no_log")
    found = "a value that is not shown" if secret else shown(value)
    # "no", "on" and the like are booleans to YAML: the choices say more than the type.
    if not _fits(kind, value) and not (kind == "str" and spec.get("choices") and isinstance(value, bool)):
        yield f"{name} must be {_KINDS[kind][1]}, got {found}{'' if secret else _hint(kind, value)}"
        return
    choices = spec.get("choices")
    for one in value if isinstance(value, list) else [value]:
        if choices and not is_templated(one) and one not in choices:
            guess = nearest(str(one), map(str, choices))
            yield f"{name} must be one of {', '.join(map(str, choices))}, got {found}" + (
                f"; did you mean {guess}?" if guess else ""
            )
            return
    if isinstance(value, list):
        element: Spec = {"type": spec.get("elements", "raw"), "options": spec.get("options"), "no_log": secret}
        for i, one in enumerate(value):
            yield from value_problems(f"{name}[{i}]", element, one)
    elif isinstance(value, dict) and spec.get("options"):
        yield from _mapping_problems(name, spec["options"], value)


def _mapping_problems(name: str, options: Mapping[str, Spec], value: Mapping[str, Any]) -> Iterator[str]:
    for key, one in value.items():
        if key in options:
            yield from value_problems(f"{name}.{key}", options[key], one)
        else:
            yield wrong_name(f"{name}.{key}", [f"{name}.{option}" for option in options], f"a key of {name}")
    for key, option in options.items():
        if option.get("required") and key not in value:
            yield f"{name}.{key} is missing; expected {_KINDS.get(str(option.get('type', 'str')), ('', 'a value'))[1]}"
