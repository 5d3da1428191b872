# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What a node is to update by itself: where from, what not, and how apt is told so. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

# After the package's own 20auto-upgrades and 50unattended-upgrades: apt reads these files in the order of their names.
CONF = "/etc/apt/apt.conf.d/zz-picluster-updates"
HEADER = "// Written by picluster (updates_state, updates_origins, updates_blacklist); edits do not stay.\n"
NEEDRESTART = "/etc/needrestart/conf.d/zz-picluster.conf"
NEEDRESTART_TEXT = """\
# Written by picluster: updates come without anybody at the keyboard, and a restart of services in the night would take
# containers and jobs down. What runs with old libraries is listed, and gone after playbooks/reboot.yml.
$nrconf{restart} = 'l';
$nrconf{kernelhints} = -1;
"""
# By ID of os-release(5); as the distributions' own 50unattended-upgrades name them. Raspbian has no archive for
# security alone: fixes come with its main one.
ORIGINS = {
    "debian": (
        "origin=Debian,codename=${distro_codename},label=Debian-Security",
        "origin=Debian,codename=${distro_codename}-security,label=Debian-Security",
    ),
    "raspbian": ("origin=Raspbian,codename=${distro_codename},label=Raspbian",),
    "ubuntu": (
        "origin=Ubuntu,archive=${distro_codename}-security",
        "origin=UbuntuESMApps,archive=${distro_codename}-apps-security",
        "origin=UbuntuESM,archive=${distro_codename}-infra-security",
    ),
}
_ORIGINS_KEY = "Unattended-Upgrade::Origins-Pattern"
_ALLOWED_KEY = "Unattended-Upgrade::Allowed-Origins"
_BLACKLIST_KEY = "Unattended-Upgrade::Package-Blacklist"
# The words that unattended-upgrades matches an archive's Release file by (match_whitelist_string).
_ORIGIN_WORDS = {"origin", "o", "label", "l", "archive", "suite", "a", "codename", "n", "component", "c", "site"}
_SCALARS = {
    "APT::Periodic::Enable": "1",
    "APT::Periodic::Update-Package-Lists": "1",
    "APT::Periodic::Unattended-Upgrade": "1",
    # Days; the packages that were installed would fill the card.
    "APT::Periodic::AutocleanInterval": "7",
    "Unattended-Upgrade::Automatic-Reboot": "false",
}
# Seconds; who waits longer for a lock waits for something that hangs.
_LONGEST_WAIT = 86400
_DUMP_LINE = re.compile(r'^(?P<key>\S+) "(?P<value>.*)";$')


@dataclass(frozen=True)
class Policy:
    """What a node updates by itself.

    Attributes:
        origins: patterns of archives, in unattended-upgrades' words.
        blacklist: regular expressions of packages' names that stay as they are.
    """

    origins: tuple[str, ...]
    blacklist: tuple[str, ...] = ()


def distribution(os_release: str) -> str:
    """Return the ID of os-release(5), empty if it names none."""
    found = re.search(r"^ID=[\"']?([^\"'\n]+)", os_release, re.MULTILINE)
    return found[1] if found else ""


def origins_of(system: str, extra: list[str]) -> tuple[str, ...]:
    """Return the patterns of a distribution's security archives, and further ones.

    Raises:
        ValueError: nobody knows where security updates come from; the message is one sentence.
    """
    known = ORIGINS.get(system, ())
    if not known and not extra:
        raise ValueError(
            f"the node runs {system or 'a system without a name'}, of which picluster does not know where security "
            f"updates come from (known: {', '.join(sorted(ORIGINS))}); name its archives in updates_origins, or set "
            "updates_state: none"
        )
    return (*known, *parse_origins(extra))


def parse_origins(patterns: list[str]) -> tuple[str, ...]:
    """Return the patterns if they are ones.

    Raises:
        ValueError: one is not; the message is one sentence.
    """
    for pattern in patterns:
        parts = [part.partition("=") for part in str(pattern).split(",")]
        if _breaks_out(pattern) or any(
            not value.strip() or word.strip() not in _ORIGIN_WORDS for word, _, value in parts
        ):
            raise ValueError(
                f"origins has '{pattern}', wanted are patterns such as origin=Docker,label=Docker CE (words: "
                f"{', '.join(sorted(word for word in _ORIGIN_WORDS if len(word) > 1))}), as 'apt-cache policy' shows "
                "them"
            )
    return tuple(patterns)


def parse_blacklist(patterns: list[str]) -> tuple[str, ...]:
    """Return the regular expressions if they are ones.

    Raises:
        ValueError: one is not; the message is one sentence.
    """
    for pattern in patterns:
        try:
            re.compile(str(pattern))
        except re.error as error:
            raise ValueError(f"blacklist has '{pattern}', which is no regular expression: {error}") from error
        if not str(pattern) or _breaks_out(pattern):
            raise ValueError(f"blacklist has '{pattern}', wanted are names of packages: docker.io or ^linux-image-")
    return tuple(patterns)


def check_lock_timeout(seconds: int) -> None:
    """Refuse what is no time to wait.

    Raises:
        ValueError: it is none; the message is one sentence.
    """
    if not 0 <= seconds <= _LONGEST_WAIT:
        raise ValueError(f"lock_timeout is {seconds}, wanted are 0 to {_LONGEST_WAIT} seconds")


def _breaks_out(pattern: object) -> bool:
    """Tell whether apt would read a text as another one: a quote ends it, and %20 is a blank."""
    return bool(re.search(r'["\n\r]|%[0-9A-Fa-f]{2}', str(pattern)))


def _lists(policy: Policy) -> dict[str, tuple[str, ...]]:
    return {_ALLOWED_KEY: (), _ORIGINS_KEY: policy.origins, _BLACKLIST_KEY: policy.blacklist}


def conf_text(policy: Policy) -> str:
    """Return the content of the file that tells apt."""
    lines = [f'{key} "{value}";' for key, value in _SCALARS.items()]
    for key, values in _lists(policy).items():
        # Else the package's own list, of which Debian's has more than security, would stay in front of ours.
        lines.append(f"#clear {key};")
        if values:
            lines += [f"{key} {{", *(f'  "{value}";' for value in values), "};"]
    return HEADER + "\n".join(lines) + "\n"


def parse_dump(dump: str) -> dict[str, list[str]]:
    """Return the values of `apt-config dump` by key, in small letters and without the colons of a list's entries."""
    found: dict[str, list[str]] = {}
    for line in dump.splitlines():
        match = _DUMP_LINE.match(line)
        # The list itself has an empty value; its entries have a key that ends in colons, or a name of their own.
        if match and match["value"]:
            found.setdefault(match["key"].lower().removesuffix("::"), []).append(match["value"])
    return found


def contradiction(policy: Policy, dump: str) -> str:
    """Return one sentence if what is in force is not the policy, else nothing.

    Args:
        policy: what is wanted.
        dump: what `apt-config dump` says.
    """
    said = parse_dump(dump)
    for key, wanted in {**{key: (value,) for key, value in _SCALARS.items()}, **_lists(policy)}.items():
        found = said.get(key.lower(), [])
        if found != list(wanted):
            return (
                f"{key} is {_shown(found)}, wanted {_shown(wanted)}, which {CONF} says: /etc/apt/apt.conf, or a file "
                "in /etc/apt/apt.conf.d whose name sorts after it, says otherwise; 'grep -ri "
                f"{key.rpartition('::')[2]} /etc/apt' finds it; take that out"
            )
    return ""


def _shown(values: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f'"{value}"' for value in values) or "empty"
