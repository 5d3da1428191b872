"""Updates by themselves: what apt is told, what it must say in the end, what is refused before anything is written."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.updates import policy
from ansible_collections.picluster.cloud.plugins.module_utils.updates.policy import Policy
from ansible_collections.picluster.cloud.plugins.modules import updates

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_CODENAME=trixie\nID=debian\n'
POLICY = Policy(policy.ORIGINS["debian"], ("docker.io", r"^libstdc\+\+6$"))
# What Debian's package brings in 50unattended-upgrades.
PACKAGE_FILE = """
Unattended-Upgrade::Origins-Pattern { "origin=Debian,codename=${distro_codename},label=Debian"; };
Unattended-Upgrade::Allowed-Origins { "Debian stable"; };
Unattended-Upgrade::Package-Blacklist { "vim"; };
Unattended-Upgrade::Automatic-Reboot "true";
"""
APT_CONFIG = shutil.which("apt-config")


def dump(folder: Path, **files: str) -> str:
    """Return what apt itself makes of files in its folder."""
    parts = folder / "apt.conf.d"
    parts.mkdir(exist_ok=True)
    for name, text in files.items():
        (parts / name.replace("_", "-")).write_text(text, encoding="utf-8")
    options = ["-o", f"Dir::Etc::Parts={parts}", "-o", f"Dir::Etc::Main={folder}/none"]
    # apt reads its folders before it takes options, so that they must come by a file.
    (folder / "top").write_text(f'Dir::Etc::Parts "{parts}";\nDir::Etc::Main "{folder}/none";\n', encoding="utf-8")
    return subprocess.run(
        [str(APT_CONFIG), "dump", *options],
        env={"APT_CONFIG": str(folder / "top"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.skipif(APT_CONFIG is None, reason="this machine has no apt")
def test_apt_goes_by_our_file_and_not_by_the_packages(tmp_path: Path) -> None:
    ours = policy.conf_text(POLICY)
    said = dump(tmp_path, **{"50unattended_upgrades": PACKAGE_FILE, "zz_picluster_updates": ours})
    assert policy.contradiction(POLICY, said) == ""
    found = policy.parse_dump(said)
    assert found["unattended-upgrade::origins-pattern"] == list(POLICY.origins)
    assert found["unattended-upgrade::package-blacklist"] == ["docker.io", r"^libstdc\+\+6$"]
    assert "unattended-upgrade::allowed-origins" not in found


@pytest.mark.skipif(APT_CONFIG is None, reason="this machine has no apt")
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('Unattended-Upgrade::Automatic-Reboot "true";', 'Automatic-Reboot is "true", wanted "false"'),
        ('APT::Periodic::Unattended-Upgrade "0";', 'APT::Periodic::Unattended-Upgrade is "0", wanted "1"'),
        (
            'Unattended-Upgrade::Allowed-Origins { "Debian stable"; };',
            'Allowed-Origins is "Debian stable", wanted empty',
        ),
        ("#clear Unattended-Upgrade::Origins-Pattern;", "Origins-Pattern is empty, wanted"),
    ],
)
def test_a_file_that_contradicts_ours_is_named_as_the_cause(tmp_path: Path, text: str, sentence: str) -> None:
    said = dump(tmp_path, zz_picluster_updates=policy.conf_text(POLICY), zzz_other=text + "\n")
    problem = policy.contradiction(POLICY, said)
    assert sentence in problem
    assert "sorts after it" in problem


def test_without_our_file_nothing_is_taken_for_right() -> None:
    assert "is empty, wanted" in policy.contradiction(POLICY, "")


@pytest.mark.parametrize("system", policy.ORIGINS)
def test_the_distributions_own_security_archives_are_known(system: str) -> None:
    patterns = policy.origins_of(system, [])
    assert patterns
    assert policy.parse_origins(list(patterns)) == patterns
    assert all("security" in pattern.lower() for pattern in patterns) or system == "raspbian"


def test_further_archives_come_after_the_distributions() -> None:
    assert policy.origins_of("debian", ["origin=Docker,label=Docker CE"])[2:] == ("origin=Docker,label=Docker CE",)
    assert policy.origins_of("void", ["o=Void"]) == ("o=Void",)


def test_a_system_that_nobody_knows_is_named() -> None:
    with pytest.raises(ValueError, match=r"the node runs void, .*known: debian, raspbian, ubuntu"):
        policy.origins_of("void", [])


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "Docker",
        "origin=",
        "vendor=Docker",
        'origin=a";Dpkg::Post-Invoke {"id',
        "origin=a\nx",
        "origin=a,,",
        "origin=a%20b",
    ],
)
def test_what_is_no_pattern_of_an_archive_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="origins has '"):
        policy.parse_origins([pattern])


@pytest.mark.parametrize("pattern", ["", "*vim", "(", 'a"; };', "a\nb", "a%2Bb"])
def test_what_is_no_regular_expression_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="blacklist has '"):
        policy.parse_blacklist([pattern])


@pytest.mark.parametrize("seconds", [-1, 86401])
def test_what_is_no_time_to_wait_for_a_lock_is_refused(seconds: int) -> None:
    with pytest.raises(ValueError, match=f"lock_timeout is {seconds}"):
        policy.check_lock_timeout(seconds)


@pytest.mark.parametrize(("text", "name"), [(DEBIAN, "debian"), ('ID="ubuntu"\n', "ubuntu"), ("ID_LIKE=x\n", "")])
def test_the_distribution_is_what_os_release_calls_it(text: str, name: str) -> None:
    assert policy.distribution(text) == name


class Node:
    """A node: what is installed, what apt-config and systemd say, what was run."""

    def __init__(self, *, check_mode: bool = False, installed: bool = False, timer: str = "enabled active") -> None:
        self.check_mode, self.installed, self.timer = check_mode, installed, timer
        self.params = {"lock_timeout": 5}
        self.dump = ""
        self.done: list[str] = []

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        said = " ".join(command)
        if command[0] == "dpkg-query":
            return 0, "unattended-upgrades installed\n" if self.installed else "", ""
        if command[0] == "apt-cache":
            return 0, "unattended-upgrades:\n  Candidate: 2\n", ""
        if command[0] == "apt-config":
            return 0, self.dump, ""
        if said.startswith("systemctl show"):
            state, active = self.timer.split()
            units = [f"Id={unit}\nActiveState={active}\nUnitFileState={state}\n" for unit in updates.TIMERS]
            return 0, "\n".join(units), ""
        self.done.append(said)
        if command[0] == "apt-get":
            self.installed = "install" in command
        if "enable" in command:
            self.timer = "enabled active"
        return 0, "", ""


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the module's files below a folder of the test's."""
    monkeypatch.setattr(policy, "CONF", str(tmp_path / "conf"))
    monkeypatch.setattr(policy, "NEEDRESTART", str(tmp_path / "conf.d/needrestart"))
    monkeypatch.setattr(updates, "MARK", str(tmp_path / "mark"))
    monkeypatch.setattr(updates, "NEEDRESTART_CONF", str(tmp_path / "needrestart.conf"))
    return tmp_path


def run(node: Node, state: str = "security") -> TextFiles:
    """Run the module's work once, with an apt that goes by the file there is."""
    node.dump = "".join(
        f'{key}:: "{value}";\n' for key, values in policy._lists(POLICY).items() for value in values
    ) + "".join(f'{key} "{value}";\n' for key, value in policy._SCALARS.items())
    module = updates.Updates(node)  # type: ignore[arg-type]  # a stand-in for the module
    if state == "security":
        module.present(POLICY)
    else:
        module.absent()
    return module.files


def test_a_second_run_changes_nothing(paths: Path) -> None:
    node = Node()
    assert run(node).changed
    assert node.installed
    node.done.clear()
    assert not run(node).changed
    assert node.done == []
    assert sorted(path.name for path in paths.iterdir()) == ["conf", "mark"]


def test_check_mode_tells_and_changes_nothing(paths: Path) -> None:
    node = Node(check_mode=True, timer="masked inactive")
    told = [entry["after_header"] for entry in run(node).diff]
    assert told == [str(paths / "conf"), str(paths / "mark"), "packages", *updates.TIMERS]
    assert list(paths.iterdir()) == []
    assert node.done == []


def test_timers_that_an_image_switched_off_are_switched_on(paths: Path) -> None:
    node = Node(installed=True, timer="masked inactive")
    run(node)
    assert [said for said in node.done if said.startswith("systemctl")] == [
        f"systemctl {verb} {unit}" for unit in updates.TIMERS for verb in ("unmask", "enable --now")
    ]
    assert (paths / "conf").exists()


def test_what_picluster_installed_goes_and_what_was_there_stays(paths: Path) -> None:
    ours, before = Node(), Node(installed=True)
    run(ours)
    assert run(ours, "none").changed
    assert not ours.installed
    assert list(paths.iterdir()) == []
    assert not run(ours, "none").changed
    run(before)
    run(before, "none")
    assert before.installed


def test_a_run_that_was_killed_before_the_package_came_still_owns_it(paths: Path) -> None:
    (paths / "mark").write_text("unattended-upgrades\n", encoding="utf-8")
    node = Node()
    run(node)
    run(node, "none")
    assert not node.installed


def test_needrestart_asks_nobody_where_it_is_installed(paths: Path) -> None:
    (paths / "needrestart.conf").touch()
    run(Node())
    assert "$nrconf{restart} = 'l';" in (paths / "conf.d/needrestart").read_text(encoding="utf-8")


def test_another_files_word_against_ours_ends_the_run(paths: Path) -> None:
    node = Node(installed=True)
    run(node)
    module = updates.Updates(node)  # type: ignore[arg-type]  # a stand-in for the module
    node.dump = node.dump.replace('Automatic-Reboot "false"', 'Automatic-Reboot "true"')
    with pytest.raises(ValueError, match='Automatic-Reboot is "true"'):
        module.present(POLICY)
    assert (paths / "conf").exists()
