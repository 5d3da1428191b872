"""Unattended updates on a node: installed and configured once, removed as far as picluster installed them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakedebian import FakeDebian
from fakenode import MASKED, RUNNING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.updates import policy
from ansible_collections.picluster.cloud.plugins.module_utils.updates.apply import (
    MARK,
    NEEDRESTART_CONF,
    PACKAGE,
    TIMERS,
)
from ansible_collections.picluster.cloud.plugins.modules.updates import converge

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OPTIONS: dict[str, Any] = {"state": "security", "origins": [], "blacklist": ["docker.io"], "lock_timeout": 5}
POLICY = policy.UpdatePolicy(policy.ORIGINS["debian"], ("docker.io",))


class Updating(FakeDebian):
    """A Debian node with apt's timers, whose apt-config repeats our file."""

    def __init__(
        self, root: Path, *packages: str, timer: Mapping[str, str] = RUNNING, check_mode: bool = False
    ) -> None:
        super().__init__(root, *packages, units=dict.fromkeys(TIMERS, timer), check_mode=check_mode)
        self.write(policy.OS_RELEASE, "ID=debian\n")
        self.apt_config = "".join(
            f'{key}:: "{value}";\n' for key, values in policy._lists(POLICY).items() for value in values
        ) + "".join(f'{key} "{value}";\n' for key, value in policy._SCALARS.items())
        self.answers["apt-config dump"] = lambda *_: self.apt_config

    def converge(self, **options: Any) -> list[str]:
        """Run the module; return what it reports as changed."""
        self.diff.clear()
        self.commands.clear()
        converge(self, {**OPTIONS, **options})
        return [entry["after_header"] for entry in self.diff]


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    node = Updating(tmp_path)
    assert node.converge() == [policy.CONF, MARK, "packages"]
    assert node.packages == {PACKAGE}
    assert node.converge() == []
    assert node.actions == ["apt-config dump"]


def test_check_mode_reports_everything_and_changes_nothing(tmp_path: Path) -> None:
    node = Updating(tmp_path, timer=MASKED, check_mode=True)
    assert node.converge() == [policy.CONF, MARK, "packages", *(timer for timer in TIMERS for _ in ("enable", "start"))]
    assert node.actions == []
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["os-release"]


def test_timers_that_an_image_masked_are_enabled_and_started(tmp_path: Path) -> None:
    node = Updating(tmp_path, PACKAGE, timer=MASKED)
    node.converge()
    assert node.actions[1:] == [
        f"systemctl {verb} {timer}" for timer in TIMERS for verb in ("unmask", "enable", "start")
    ]


def test_what_picluster_installed_is_removed_and_what_was_there_stays(tmp_path: Path) -> None:
    ours, before = Updating(tmp_path / "ours"), Updating(tmp_path / "before", PACKAGE)
    ours.converge()
    assert ours.converge(state="none") == ["packages", f"{MARK} (absent)", f"{policy.CONF} (absent)"]
    assert ours.packages == set()
    assert ours.converge(state="none") == []
    before.converge()
    before.converge(state="none")
    assert before.packages == {PACKAGE}


def test_a_run_that_was_killed_before_the_package_was_installed_still_owns_it(tmp_path: Path) -> None:
    node = Updating(tmp_path)
    node.write(MARK, f"{PACKAGE}\n")
    node.converge()
    node.converge(state="none")
    assert node.packages == set()


def test_needrestart_asks_nothing_where_it_is_installed(tmp_path: Path) -> None:
    node = Updating(tmp_path)
    node.write(NEEDRESTART_CONF, "")
    node.converge()
    assert "$nrconf{restart} = 'l';" in node.text(policy.NEEDRESTART)
    assert f"{policy.NEEDRESTART} (absent)" in node.converge(state="none")


def test_a_file_that_overrides_ours_fails_the_run(tmp_path: Path) -> None:
    node = Updating(tmp_path, PACKAGE)
    node.apt_config = node.apt_config.replace('Automatic-Reboot "false"', 'Automatic-Reboot "true"')
    with pytest.raises(UserError, match='Automatic-Reboot is overridden: "true"'):
        node.converge()
    assert node.path(policy.CONF).exists()


@pytest.mark.parametrize("wrong", [{"origins": ["Docker"]}, {"blacklist": ["*"]}, {"lock_timeout": -1}])
def test_a_wrong_option_changes_nothing(tmp_path: Path, wrong: dict[str, Any]) -> None:
    node = Updating(tmp_path)
    with pytest.raises(UserError):
        node.converge(**wrong)
    assert (node.diff, node.actions) == ([], [])
