"""The policy of unattended updates: its settings, apt's configuration of it, and what overrides that."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.updates import policy
from ansible_collections.picluster.cloud.plugins.module_utils.updates.policy import UpdatePolicy

if TYPE_CHECKING:
    from pathlib import Path

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_CODENAME=trixie\nID=debian\n'
POLICY = UpdatePolicy(policy.ORIGINS["debian"], ("docker.io", r"^libstdc\+\+6$"))
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
    # apt reads its folders before its options, so they must come from a file.
    (folder / "top").write_text(f'Dir::Etc::Parts "{parts}";\nDir::Etc::Main "{folder}/none";\n', encoding="utf-8")
    return subprocess.run(
        [str(APT_CONFIG), "dump", *options],
        env={"APT_CONFIG": str(folder / "top"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.skipif(APT_CONFIG is None, reason="this machine has no apt")
def test_apt_follows_our_file_and_not_the_packages_own(tmp_path: Path) -> None:
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
        ('Unattended-Upgrade::Automatic-Reboot "true";', 'Automatic-Reboot is overridden: "true", expected "false"'),
        (
            'APT::Periodic::Unattended-Upgrade "0";',
            'APT::Periodic::Unattended-Upgrade is overridden: "0", expected "1"',
        ),
        (
            'Unattended-Upgrade::Allowed-Origins { "Debian stable"; };',
            'Allowed-Origins is overridden: "Debian stable", expected empty',
        ),
        ("#clear Unattended-Upgrade::Origins-Pattern;", "Origins-Pattern is overridden: empty, expected"),
    ],
)
def test_a_file_that_overrides_ours_is_named_as_the_cause(tmp_path: Path, text: str, sentence: str) -> None:
    said = dump(tmp_path, zz_picluster_updates=policy.conf_text(POLICY), zzz_other=text + "\n")
    problem = policy.contradiction(POLICY, said)
    assert sentence in problem
    assert "that sorts after it" in problem


def test_without_our_file_nothing_counts_as_configured() -> None:
    assert "is overridden: empty, expected" in policy.contradiction(POLICY, "")


@pytest.mark.parametrize("system", policy.ORIGINS)
def test_the_distributions_own_security_archives_are_known(system: str) -> None:
    patterns = policy.origins_of(system, [])
    assert patterns
    assert policy.parse_origins(list(patterns)) == patterns
    assert all("security" in pattern.lower() for pattern in patterns) or system == "raspbian"


def test_further_archives_come_after_the_distributions() -> None:
    assert policy.origins_of("debian", ["origin=Docker,label=Docker CE"])[2:] == ("origin=Docker,label=Docker CE",)
    assert policy.origins_of("void", ["o=Void"]) == ("o=Void",)


def test_an_unknown_distribution_is_named() -> None:
    with pytest.raises(UserError, match=r"for this distribution: void \(known: debian, raspbian, ubuntu\)"):
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
def test_an_invalid_pattern_of_an_archive_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match="origins contains an invalid pattern: '"):
        policy.parse_origins([pattern])


@pytest.mark.parametrize("pattern", ["", "*vim", "(", 'a"; };', "a\nb", "a%2Bb"])
def test_an_invalid_regular_expression_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match=r"blacklist contains an invalid (regular expression|package name): '"):
        policy.parse_blacklist([pattern])


@pytest.mark.parametrize(("text", "name"), [(DEBIAN, "debian"), ('ID="ubuntu"\n', "ubuntu"), ("ID_LIKE=x\n", "")])
def test_the_distribution_is_what_os_release_calls_it(text: str, name: str) -> None:
    assert policy.distribution(text) == name
