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
        ({}, 1.36, "x is 1.36, wanted is a text: put it into quotes"),
        ({}, True, "x is true, wanted is a text: put it into quotes"),
        ({}, {"a": 1}, "x is the mapping {'a': 1}, wanted is a text"),
        ({"type": "int"}, True, "x is true, wanted is a whole number"),
        ({"type": "int"}, 1.5, "x is 1.5, wanted is a whole number"),
        ({"type": "bool"}, "yes", 'x is the text "yes", wanted is true or false without quotes'),
        ({"type": "bool"}, 1, "x is 1, wanted is true or false"),
        ({"type": "list"}, None, "x is empty, wanted is a list"),
        ({"type": "int", "default": 1}, None, "x is empty, wanted is a whole number"),
        ({"type": "dict"}, [1], "x is the list [1], wanted is a mapping of keys to values"),
        (
            {"type": "list", "elements": "int"},
            [1, "2"],
            'x[1] is the text "2", wanted is a whole number without quotes',
        ),
        (
            {"choices": ["server", "agent"]},
            "servr",
            'x is the text "servr", wanted is one of server, agent (did you mean server?)',
        ),
        (
            {"type": "dict", "options": {"size": {"type": "int"}}},
            {"sise": 1},
            "x.sise is not a variable of x, did you mean x.size?",
        ),
        (
            {"type": "dict", "options": {"size": {"type": "int", "required": True}}},
            {},
            "x.size is missing, wanted is a whole number",
        ),
        ({"type": "int", "no_log": True}, "hunter2", "x is hidden here, wanted is a whole number without quotes"),
    ],
)
def test_wrong_values_are_one_sentence(spec: dict[str, Any], value: object, sentence: str) -> None:
    assert list(specs.value_problems("x", spec, value)) == [sentence]


def test_long_values_are_shortened() -> None:
    assert len(specs.shown("a" * 500)) < 80


def test_a_name_like_nothing_gets_no_guess() -> None:
    assert specs.wrong_name("k3s_zzz", ["k3s_token"], "the role k3s") == (
        "k3s_zzz is not a variable of the role k3s: take it out or see its README for the right name"
    )
