# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What a node updates automatically: from which archives, except which packages; and apt's configuration. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

OS_RELEASE = "/etc/os-release"
# After the package's own 20auto-upgrades and 50unattended-upgrades: apt reads these files in the order of their names.
CONF = "/etc/apt/apt.conf.d/zz-picluster-updates"
HEADER = "// Written by picluster (updates_state, updates_origins, updates_blacklist); edits are overwritten.\n"
NEEDRESTART = "/etc/needrestart/conf.d/zz-picluster.conf"
NEEDRESTART_TEXT = """\
# Written by picluster: updates run unattended, and a restart of services at night would stop containers and jobs.
# Services that run with old libraries are listed; playbooks/reboot.yml restarts the node.
$nrconf{restart} = 'l';
$nrconf{kernelhints} = -1;
"""
# By ID of os-release(5), as in the distributions' own 50unattended-upgrades. Raspbian has no archive for security
# updates alone: they come in its main one.
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
    # Days; downloaded packages would fill the card.
    "APT::Periodic::AutocleanInterval": "7",
    "Unattended-Upgrade::Automatic-Reboot": "false",
}
_DUMP_LINE = re.compile(r'^(?P<key>\S+) "(?P<value>.*)";$')


@dataclass(frozen=True)
class UpdatePolicy:
    """What a node updates automatically.

    Attributes:
        origins: Patterns of archives, in unattended-upgrades' words.
        blacklist: Regular expressions of the names of packages that are not updated.
    """

    origins: tuple[str, ...]
    blacklist: tuple[str, ...] = ()


def distribution(os_release: str) -> str:
    """Return the ID of os-release(5), or an empty text if it has none."""
    found = re.search(r"^ID=[\"']?([^\"'\n]+)", os_release, re.MULTILINE)
    return found[1] if found else ""


def origins_of(system: str, extra: list[str]) -> tuple[str, ...]:
    """Return the patterns of a distribution's security archives, and further ones.

    Raises:
        UserError: no archive with security updates is known.
    """
    known = ORIGINS.get(system, ())
    if not known and not extra:
        raise UserError(
            f"no security archive is known for this distribution: {system or 'no ID in ' + OS_RELEASE} (known: "
            f"{', '.join(sorted(ORIGINS))}); name its archives in origins, or set state to none"
        )
    return (*known, *parse_origins(extra))


def parse_origins(patterns: list[str]) -> tuple[str, ...]:
    """Return the patterns of archives.

    Raises:
        UserError: One is not a pattern.
    """
    for pattern in patterns:
        parts = [part.partition("=") for part in str(pattern).split(",")]
        if _breaks_out(pattern) or any(
            not value.strip() or word.strip() not in _ORIGIN_WORDS for word, _, value in parts
        ):
            raise UserError(
                f"origins contains an invalid pattern: '{pattern}'; expected key=value pairs such as "
                f"origin=Docker,label=Docker CE (keys: "
                f"{', '.join(sorted(word for word in _ORIGIN_WORDS if len(word) > 1))}), as 'apt-cache policy' shows "
                "them"
            )
    return tuple(patterns)


def parse_blacklist(patterns: list[str]) -> tuple[str, ...]:
    """Return the regular expressions of package names.

    Raises:
        UserError: One is not a regular expression, or not one of a package name.
    """
    for pattern in patterns:
        try:
            re.compile(str(pattern))
        except re.error as error:
            raise UserError(
                f"blacklist contains an invalid regular expression: '{pattern}' ({error}); correct it"
            ) from error
        if not str(pattern) or _breaks_out(pattern):
            raise UserError(
                f"blacklist contains an invalid package name: '{pattern}'; expected names such as docker.io or "
                "^linux-image-"
            )
    return tuple(patterns)


def _breaks_out(pattern: object) -> bool:
    """Return whether apt would read a text differently: a quote ends it, and %20 is a blank."""
    return bool(re.search(r'["\n\r]|%[0-9A-Fa-f]{2}', str(pattern)))


def _lists(desired: UpdatePolicy) -> dict[str, tuple[str, ...]]:
    return {_ALLOWED_KEY: (), _ORIGINS_KEY: desired.origins, _BLACKLIST_KEY: desired.blacklist}


def conf_text(desired: UpdatePolicy) -> str:
    """Return the content of apt's configuration file."""
    lines = [f'{key} "{value}";' for key, value in _SCALARS.items()]
    for key, values in _lists(desired).items():
        # Otherwise ours would be appended to the package's own list, which in Debian has more than security.
        lines.append(f"#clear {key};")
        if values:
            lines += [f"{key} {{", *(f'  "{value}";' for value in values), "};"]
    return HEADER + "\n".join(lines) + "\n"


def parse_dump(dump: str) -> dict[str, list[str]]:
    """Return the values of `apt-config dump` by key, in lower case and without the colons of a list's entries."""
    found: dict[str, list[str]] = {}
    for line in dump.splitlines():
        match = _DUMP_LINE.match(line)
        # The list itself has an empty value; its entries have a key that ends in colons, or a name of their own.
        if match and match["value"]:
            found.setdefault(match["key"].lower().removesuffix("::"), []).append(match["value"])
    return found


def contradiction(desired: UpdatePolicy, dump: str) -> str:
    """Return one sentence if apt's effective configuration is not the policy, else an empty text.

    Args:
        desired: The policy.
        dump: The output of `apt-config dump`.
    """
    said = parse_dump(dump)
    for key, values in {**{key: (value,) for key, value in _SCALARS.items()}, **_lists(desired)}.items():
        found = said.get(key.lower(), [])
        if found != list(values):
            return (
                f"{key} is overridden: {_shown(found)}, expected {_shown(values)} as in {CONF}; remove the setting "
                "from /etc/apt/apt.conf or from the file in /etc/apt/apt.conf.d that sorts after it, which 'grep -ri "
                f"{key.rpartition('::')[2]} /etc/apt' finds"
            )
    return ""


def _shown(values: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f'"{value}"' for value in values) or "empty"
