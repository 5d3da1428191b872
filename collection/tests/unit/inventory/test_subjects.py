"""What the subjects declare for the inventory check is found by folder, and fits their roles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import bounded
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory import subjects
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.rules import variable_problems
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.templated import is_templated

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLES = subjects.read_specs()
FOLDER = Path(subjects.__file__).resolve().parents[3] / "roles"


def numbers(role: str) -> Iterator[str]:
    """Yield the settings of a role that are numbers; a dot leads to a key of a mapping."""
    for name, spec in {name: spec for options in ROLES[role].values() for name, spec in options.items()}.items():
        if spec.get("type") in {"int", "float"}:
            yield name
        yield from (f"{name}.{key}" for key, one in (spec.get("options") or {}).items() if one.get("type") == "int")


def test_every_role_with_settings_takes_part() -> None:
    assert set(ROLES) >= {"identity", "network", "ssh", "firewall", "raspberry", "updates", "reboot", "k3s", "hadoop"}
    assert sum(bool(subjects.declared("CHECKS", [role])) for role in ROLES) > len(ROLES) // 2


@pytest.mark.parametrize("role", sorted(ROLES))
def test_every_check_belongs_to_a_setting(role: str) -> None:
    kinds = {name: spec.get("type") for options in ROLES[role].values() for name, spec in options.items()}
    assert sorted(subjects.declared("CHECKS", [role]).keys() - kinds.keys()) == []
    assert {kinds.get(name) for name in subjects.declared("NAMES", [role])} <= {"dict"}


@pytest.mark.parametrize("role", sorted(ROLES))
def test_every_number_has_bounds_around_its_default(role: str) -> None:
    bounds = subjects.declared("BOUNDS", [role])
    # The network's own, which the playbook sets from node_prefix.
    assert sorted(set(numbers(role)) - {"network_prefix"}) == sorted(bounds)
    defaults = yaml.safe_load((FOLDER / role / "defaults/main.yml").read_text(encoding="utf-8"))
    for name, one, value in bounded(bounds, defaults):
        if not is_templated(value):
            one.check(name, value)


def test_a_role_without_variables_owns_its_prefix_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minio/tasks").mkdir(parents=True)
    monkeypatch.setattr(subjects, "_ROLES", tmp_path)
    roles: dict[str, dict[str, Any]] = {role: dict(points) for role, points in subjects.read_specs().items()}
    inventory = Inventory({}, {"red1": {"minio_prot": 9000, "other_port": 1}})
    assert [problem.text for problem in variable_problems(inventory, roles)] == [
        "minio_prot is not a variable of the role minio; remove it, or correct its name"
    ]
