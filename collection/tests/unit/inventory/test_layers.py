"""What a layer declares: read in order, refused if it is wrong, and answered to the playbooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError

from ansible_collections.picluster.cloud.plugins.lookup.layers import LookupModule
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.layers import read_layers

HELLO: dict[str, Any] = {
    "order": 15,
    "groups": {"hello": {"description": "Says hello", "initial": "all"}},
    "columns": ["hello"],
    "verify": {"each": "hello"},
}
GROUPS = {
    "nodes": ["red1", "red2", "red3"],
    "docker": ["red1", "red2"],
    "k3s_server": ["red1"],
    "k3s_agent": ["red2"],
    # More than the inventory check allows: only the first of them verifies.
    "hadoop_master": ["red1", "red2"],
}


def declare(roles: Path, declared: object, name: str = "hello", files: tuple[str, ...] = ("verify",)) -> Path:
    """Write a role that declares a layer."""
    for file in files:
        (roles / name / "tasks").mkdir(parents=True, exist_ok=True)
        (roles / name / "tasks" / f"{file}.yml").touch()
    (roles / name / "meta").mkdir(parents=True, exist_ok=True)
    text = declared if isinstance(declared, str) else yaml.safe_dump(declared)
    (roles / name / "meta/layer.yml").write_text(text, encoding="utf-8")
    return roles


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in HELLO.items() if name != key}


def ask(node: str, *questions: str) -> list[Any]:
    return LookupModule().run(list(questions), {"inventory_hostname": node, "groups": GROUPS})


def test_the_layers_come_in_their_order_not_in_that_of_the_alphabet() -> None:
    assert [layer.name for layer in read_layers()] == ["docker", "k3s", "hadoop"]


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ("[", "is not valid YAML: "),
        ("- a\n", "layer must be a mapping, got the list ['a']"),
        (without("order"), "layer.order is missing; expected an integer"),
        ({**HELLO, "ordr": 1}, "layer.ordr is not a key of layer; did you mean layer.order?"),
        ({**HELLO, "columns": "hello"}, 'layer.columns must be a list, got the string "hello"; write [hello]'),
        (
            {**HELLO, "groups": {"hello": {"description": "x", "initial": "fist"}}},
            'others_or_first, got the string "fist"; did you mean first?',
        ),
        ({**HELLO, "groups": {"hello": {"initial": "all"}}}, "layer.groups.hello.description is missing"),
        ({**HELLO, "groups": {"hello": None}}, "layer.groups.hello must be a mapping, got an empty value"),
        ({**HELLO, "verify": {}}, "layer.verify must have one key: each or first"),
        ({**HELLO, "verify": {"each": "helo"}}, "layer.verify.each: helo is not a group of hello; did you mean hello?"),
        ({**HELLO, "drain": "docker"}, "layer.drain: docker is not a group of hello; remove it, or correct its name"),
        ({**HELLO, "health": True}, "layer.health needs roles/hello/tasks/health.yml, which does not exist; add it"),
    ],
)
def test_a_wrong_declaration_is_named_with_its_file(tmp_path: Path, declared: object, says: str) -> None:
    with pytest.raises(UserError) as caught:
        read_layers(declare(tmp_path, declared))
    assert str(caught.value).startswith("roles/hello/meta/layer.yml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_group_belongs_to_one_layer(tmp_path: Path) -> None:
    declare(tmp_path, HELLO)
    with pytest.raises(UserError, match="the group hello is already declared by hello"):
        read_layers(declare(tmp_path, HELLO, "world"))


def test_every_task_file_of_a_layer_has_its_key() -> None:
    # A forgotten key would silently leave out a health check or a download.
    for layer in read_layers():
        tasks = Path(__file__).parents[3] / f"ansible_collections/picluster/cloud/roles/{layer.name}/tasks"
        for key in ("health", "fetch", "drain"):
            assert bool(layer.declared.get(key)) == (tasks / f"{key}.yml").exists(), (layer.name, key)


def test_a_node_verifies_what_it_is_declared_to() -> None:
    assert ask("red1", "verify") == ["docker", "k3s", "hadoop"]
    assert ask("red2", "verify") == ["docker"]
    assert ask("red3", "verify") == []


def test_a_node_has_the_health_of_the_layers_whose_groups_it_is_in() -> None:
    assert ask("red2", "health") == ["docker", "k3s", "hadoop"]
    assert ask("red3", "health") == []


def test_the_playbooks_learn_who_restarts_last_who_drains_and_what_is_busy() -> None:
    assert (ask("red1", "restart_last"), ask("red3", "restart_last")) == (["k3s", "hadoop"], [])
    assert ask("red3", "drain") == [{"layer": "k3s", "node": "red1"}]
    assert LookupModule().run(["drain"], {"groups": {}}) == []
    assert ask("red3", "busy_units") == ["docker.service", "k3s*.service", "hadoop-*.service"]


def test_an_unknown_question_is_refused() -> None:
    with pytest.raises(AnsibleError, match="the layers do not declare 'helth'; expected one of verify, health,"):
        ask("red1", "helth")
