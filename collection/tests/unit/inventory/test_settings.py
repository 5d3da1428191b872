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


@pytest.mark.parametrize("role", sorted(path.parts[-3] for path in ROLES.glob("*/meta/argument_specs.yml")))
def test_a_setting_is_stated_once(role: str) -> None:
    defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text(encoding="utf-8"))
    entries = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    specified = [(name, option) for entry in entries.values() for name, option in entry["options"].items()]
    options = dict(specified)
    # In another entry point, a YAML alias repeats the option.
    assert [name for name, option in specified if option is not options[name]] == []
    # What is required has no default, which would satisfy it; everything else has one.
    assert set(defaults) == {name for name, option in options.items() if not option.get("required")}
    # Defaults stand in defaults/main.yml; null here says that null is a value like others.
    assert [name for name, option in options.items() if option.get("default") is not None] == []
    # The tables do not show a template: its description explains it.
    templates = [name for name, default in defaults.items() if "{{" in str(default)]
    assert [name for name in templates if "default" not in str(options[name]["description"])] == []
    readme = (ROLES / role / "README.md").read_text(encoding="utf-8")
    assert [name for name in options if f"| `{name}` |" not in readme] == []
