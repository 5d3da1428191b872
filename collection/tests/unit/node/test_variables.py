"""A module's message in the words of its role's user."""

from __future__ import annotations

import pytest

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.variables import name_variables

ARGUMENTS = {"give_up_data": "", "node_name": "red1", "source": "maven"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("or pass give_up_data=red1 to format", "or pass -e hadoop_give_up_data=red1 to format"),
        ("node_name is empty; set it", "hadoop_node_name is empty; set it"),
        ("the source of the files", "the source of the files"),
        ("dfs.data_dir and my_node_name stay", "dfs.data_dir and my_node_name stay"),
    ],
)
def test_options_of_the_module_become_variables_of_the_role(said: str, told: str) -> None:
    assert name_variables({"failed": True, "msg": said}, "hadoop", ARGUMENTS)["msg"] == told


def test_answers_that_are_no_failure_stay() -> None:
    answer = {"changed": True, "msg": "node_name is red1"}
    assert name_variables(answer, "hadoop", ARGUMENTS) == answer
