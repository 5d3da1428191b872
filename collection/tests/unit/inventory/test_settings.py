"""Settings of the project and defaults of the base roles: promises that no single module can keep."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.config.manager import ConfigManager

ROOT = Path(__file__).parents[4]
ROLES = ROOT / "collection/ansible_collections/picluster/cloud/roles"


def test_the_arguments_of_modules_do_not_go_to_the_nodes_journals() -> None:
    config = ConfigManager(conf_file=str(ROOT / "ansible.cfg"))
    assert config.get_config_value("DEFAULT_NO_TARGET_SYSLOG", cfile=str(ROOT / "ansible.cfg")) is True


@pytest.mark.parametrize("role", ["identity", "network", "ssh", "firewall", "raspberry", "updates", "reboot", "docker"])
def test_what_a_role_requires_has_no_default_that_would_satisfy_it(role: str) -> None:
    defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text(encoding="utf-8"))
    specs = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    required = {name for spec in specs.values() for name, option in spec["options"].items() if option.get("required")}
    assert sorted(required & set(defaults)) == []


@pytest.mark.parametrize("role", sorted(path.parts[-3] for path in ROLES.glob("*/meta/argument_specs.yml")))
def test_every_default_of_a_role_is_specified_as_it_is_and_in_the_readme(role: str) -> None:
    defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text(encoding="utf-8"))
    entries = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    specified = [(name, option) for entry in entries.values() for name, option in entry["options"].items()]
    assert set(defaults) == {name for name, option in specified if name in defaults or not option.get("required")}
    # A default of null says that null is a value like others, not what the default is.
    values = {name: option["default"] for name, option in specified if option.get("default") is not None}
    assert values == {name: defaults[name] for name in values}
    readme = (ROLES / role / "README.md").read_text(encoding="utf-8")
    assert [name for name in defaults if f"`{name}`" not in readme] == []
