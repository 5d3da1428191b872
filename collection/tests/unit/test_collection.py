"""The metadata of the collection agrees with its contents and with the project."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
CLOUD = ROOT / "collection/ansible_collections/picluster/cloud"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CLOUD / name).read_text(encoding="utf-8"))
    return found


def test_the_collection_has_the_version_and_the_license_of_the_project() -> None:
    galaxy = read("galaxy.yml")
    assert galaxy["version"] == PROJECT["version"]
    assert galaxy["license"] == [PROJECT["license"]]
    assert (CLOUD / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_action_group_has_every_module() -> None:
    modules = sorted(path.stem for path in (CLOUD / "plugins/modules").glob("*.py"))
    assert read("meta/runtime.yml")["action_groups"] == {"all": modules}


def test_the_collection_requires_the_same_ansible_as_the_package() -> None:
    required = next(one for one in PROJECT["dependencies"] if one.startswith("ansible-core"))
    assert read("meta/runtime.yml")["requires_ansible"].startswith(required.removeprefix("ansible-core"))
