"""Strict checks of a value against a role's specification."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory import specs


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({}, "text"),
        ({"type": "path"}, "/srv"),
        ({"type": "int"}, 3),
        ({"type": "float"}, 3),
        ({"type": "bool"}, False),
        ({"type": "list", "elements": "int"}, [1, 2]),
        ({"type": "list"}, [1, "a", {}]),
        ({"type": "dict"}, {"a": 1}),
        ({"type": "raw"}, None),
        ({"type": "int", "default": None}, None),
        ({"type": "str", "choices": ["a", "b"]}, "b"),
        ({"type": "list", "elements": "str", "choices": ["a", "b"]}, ["a", "b"]),
        ({"type": "int"}, "{{ cores }}"),
        ({"type": "dict"}, "{% if x %}{% endif %}"),
        ({"type": "int"}, object()),
        ({"type": "dict", "options": {"a": {"type": "int"}}}, {"a": 1}),
    ],
)
def test_right_values_pass(spec: dict[str, Any], value: object) -> None:
    assert list(specs.value_problems("x", spec, value)) == []


@pytest.mark.parametrize(
    ("spec", "value", "sentence"),
    [
        ({}, 1.36, "x must be a string, got 1.36; put it in quotes"),
        ({}, True, "x must be a string, got true; put it in quotes"),
        ({}, {"a": 1}, "x must be a string, got the mapping {'a': 1}"),
        ({"type": "int"}, True, "x must be an integer, got true"),
        ({"type": "int"}, 1.5, "x must be an integer, got 1.5"),
        ({"type": "bool"}, "yes", 'x must be true or false, got the string "yes"; remove the quotes'),
        ({"type": "bool"}, "maybe", 'x must be true or false, got the string "maybe"'),
        ({"type": "int"}, "many", 'x must be an integer, got the string "many"'),
        ({"type": "list"}, "pi", 'x must be a list, got the string "pi"; write [pi]'),
        ({"type": "list", "no_log": True}, "hunter2", "x must be a list, got a value that is not shown"),
        ({"type": "bool"}, 1, "x must be true or false, got 1"),
        ({"type": "list"}, None, "x must be a list, got an empty value"),
        ({"type": "int", "default": 1}, None, "x must be an integer, got an empty value"),
        ({"type": "dict"}, [1], "x must be a mapping, got the list [1]"),
        (
            {"type": "list", "elements": "int"},
            [1, "2"],
            'x[1] must be an integer, got the string "2"; remove the quotes',
        ),
        (
            {"choices": ["server", "agent"]},
            "servr",
            'x must be one of server, agent, got the string "servr"; did you mean server?',
        ),
        (
            {"type": "dict", "options": {"size": {"type": "int"}}},
            {"sise": 1},
            "x.sise is not a key of x; did you mean x.size?",
        ),
        (
            {"type": "dict", "options": {"size": {"type": "int", "required": True}}},
            {},
            "x.size is missing; expected an integer",
        ),
        ({"type": "int", "no_log": True}, "hunter2", "x must be an integer, got a value that is not shown"),
    ],
)
def test_wrong_values_are_one_sentence(spec: dict[str, Any], value: object, sentence: str) -> None:
    assert list(specs.value_problems("x", spec, value)) == [sentence]


def test_long_values_are_shortened() -> None:
    assert len(specs.shown("a" * 500)) < 80


def test_a_name_like_nothing_gets_no_guess() -> None:
    assert specs.wrong_name("k3s_zzz", ["k3s_token"], "a variable of the role k3s") == (
        "k3s_zzz is not a variable of the role k3s; remove it, or correct its name"
    )
