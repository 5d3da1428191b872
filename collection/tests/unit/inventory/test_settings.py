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
