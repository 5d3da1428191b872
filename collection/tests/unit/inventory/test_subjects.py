"""What the subjects declare for the inventory check is found by folder, and fits their roles."""

from __future__ import annotations

import pytest

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory import subjects

ROLES = subjects.read_specs()


def test_every_role_with_settings_takes_part() -> None:
    assert set(ROLES) >= {"identity", "network", "ssh", "firewall", "raspberry", "updates", "reboot", "k3s", "hadoop"}
    assert sum(bool(subjects.value_checks(role)) for role in ROLES) > len(ROLES) // 2


@pytest.mark.parametrize("role", sorted(ROLES))
def test_every_check_belongs_to_a_setting(role: str) -> None:
    kinds = {name: spec.get("type") for options in ROLES[role].values() for name, spec in options.items()}
    assert sorted(subjects.value_checks(role).keys() - kinds.keys()) == []
    assert {kinds.get(name) for name in subjects.name_checks(role)} <= {"dict"}
