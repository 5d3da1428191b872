"""Tags of the command line."""

from __future__ import annotations

import pytest

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.tags import check_tags

ROLES = ("firewall", "hadoop", "ssh")


@pytest.mark.parametrize("tags", [[], ["all"], ["ssh", "hadoop"], ["verify"], ["untagged", "never"]])
def test_names_of_roles_and_ansible_s_own_words_pass(tags: list[str]) -> None:
    assert check_tags("--tags", tags, ROLES) == ("", "")


@pytest.mark.parametrize(("tag", "guess"), [("sssh", "ssh"), ("Firewall", "firewall"), ("hadop", "hadoop")])
def test_a_misspelled_role_is_named(tag: str, guess: str) -> None:
    mistake, _warning = check_tags("--tags", ["ssh", tag], ROLES)
    assert mistake == f"--tags {tag} is not the name of a role; did you mean {guess}? No node was touched."


def test_tags_of_another_playbook_are_a_warning() -> None:
    mistake, warning = check_tags("--skip-tags", ["grafana", "ssh"], ROLES)
    assert mistake == ""
    assert warning == "--skip-tags: no role of picluster is called grafana; they are firewall, hadoop, ssh"
