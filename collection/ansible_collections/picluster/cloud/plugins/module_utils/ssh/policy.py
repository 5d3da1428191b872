# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What sshd is told, as pure functions: the policy by profile and release, its text, and what sshd makes of it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import network_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HEADER = "# Written by picluster (role ssh). In sshd the first value wins: this file sorts before all others.\n"
PROFILES = ("pq", "policy")
# From OpenSSH 9.8 on a source that fails is locked out for a while: also a controller that tries the wrong key.
EXEMPT = "PerSourcePenaltyExemptList"

# What dev-sec's ssh-baseline and Lynis agree on for access; of two values the stricter that is no trouble for Ansible.
# UsePAM stays on: without it a user whose password is locked, as on a stock card, is refused even with the right key
# (dev-sec/ansible-ssh-hardening#115).
ACCESS: dict[str, str] = {
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "PermitEmptyPasswords": "no",
    "PermitRootLogin": "no",
    "PubkeyAuthentication": "yes",
    "AuthenticationMethods": "publickey",
    "HostbasedAuthentication": "no",
    "GSSAPIAuthentication": "no",
    "KerberosAuthentication": "no",
    "IgnoreRhosts": "yes",
    "StrictModes": "yes",
    "UsePAM": "yes",
    "PermitUserEnvironment": "no",
    "X11Forwarding": "no",
    "AllowAgentForwarding": "no",
    "AllowTcpForwarding": "no",
    "GatewayPorts": "no",
    "PermitTunnel": "no",
    "Compression": "no",
    "UseDNS": "no",
    "TCPKeepAlive": "no",
    "DebianBanner": "no",
    "LogLevel": "VERBOSE",
    "LoginGraceTime": "30",
    "MaxAuthTries": "3",
    # Ansible needs one at a time on a node; what comes on top opens a connection of its own (measured with twelve).
    "MaxSessions": "2",
    "MaxStartups": "10:30:60",
    # One stranger must not fill all places for those who are not logged in yet.
    "PerSourceMaxStartups": "5",
    "ClientAliveInterval": "300",
    "ClientAliveCountMax": "2",
}

# ssh-audit 3.9.0: hardening guides and built-in policies, which check the order too.
_PQ = ("mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com")
_POLICY_9 = (
    *_PQ[1:],
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group-exchange-sha256",
)
_CIPHERS = (
    "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-gcm@openssh.com,aes128-ctr"
)
_SIGNATURES = (
    "sk-ssh-ed25519-cert-v01@openssh.com,ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com,"
    "rsa-sha2-256-cert-v01@openssh.com,sk-ssh-ed25519@openssh.com,ssh-ed25519,rsa-sha2-512,rsa-sha2-256"
)
_FIRST_WITH_POLICY_PQ = (10, 0)
_FIRST_WITH_INCLUDE = (8, 2)
# The former names, and the first release with the new one. The former still mean the same.
_RENAMED = {
    "PubkeyAcceptedAlgorithms": ("PubkeyAcceptedKeyTypes", (8, 5)),
    "HostbasedAcceptedAlgorithms": ("HostbasedAcceptedKeyTypes", (8, 5)),
    # Until then it was a keyword beside the other one, and its yes turned the other one on again.
    "KbdInteractiveAuthentication": ("ChallengeResponseAuthentication", (8, 7)),
}
_NEW_NAMES = {former.lower(): new for new, (former, _since) in _RENAMED.items()}
# Keywords that gather all files' values, and let in whoever is in any of them.
_LET_IN = ("allowgroups", "allowusers")

ED25519_KEY = "/etc/ssh/ssh_host_ed25519_key"
# A file of its own: Debian's ssh_host_rsa_key has 3072 bits, and somebody may have written down its fingerprint.
RSA_KEY = "/etc/ssh/ssh_host_rsa4096_key"

# Older releases, and builds without GSSAPI or Kerberos, do not know these; sshd has no IgnoreUnknown.
OPTIONAL = {
    name.lower()
    for name in (
        EXEMPT,
        "GSSAPIAuthentication",
        "GSSAPIKexAlgorithms",
        "HostbasedAcceptedAlgorithms",
        "KerberosAuthentication",
        "PerSourceMaxStartups",
        "PubkeyAcceptedAlgorithms",
        "RequiredRSASize",
    )
}

_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_UNKNOWN = re.compile(r"Bad configuration option: (\w+)", re.IGNORECASE)


@dataclass(frozen=True)
class Release:
    """What the node's OpenSSH can do.

    Attributes:
        version: Major and minor.
        exchanges: The key exchanges that it knows (`ssh -Q kex`).
    """

    version: tuple[int, int]
    exchanges: frozenset[str]


def parse_version(text: str) -> tuple[int, int]:
    """Return major and minor from what `ssh -V` says.

    Raises:
        ValueError: it is no OpenSSH's answer.
    """
    found = re.match(r"OpenSSH_(\d+)\.(\d+)", text.strip())
    if not found:
        raise ValueError(f"ssh -V says {text.strip()!r}, wanted is an OpenSSH")
    return int(found[1]), int(found[2])


def crypto(profile: str, release: Release) -> dict[str, list[str]]:
    """Return the keywords of cryptography for a profile on a release.

    Args:
        profile: `pq` lets only key exchanges in that a quantum computer does not break (ssh-audit's standard audit);
            `policy` is what ssh-audit's built-in policy for the release wants to the letter.
        release: the node's OpenSSH.

    Raises:
        ValueError: the release knows no such key exchange.
    """
    if release.version < _FIRST_WITH_INCLUDE:
        major, minor = release.version
        raise ValueError(
            f"OpenSSH {major}.{minor} on this node reads no file but sshd_config itself, wanted is 8.2 or newer: use "
            "a newer image"
        )
    modern = release.version >= _FIRST_WITH_POLICY_PQ
    wanted = _POLICY_9 if profile == "policy" and not modern else _PQ
    exchanges = [name for name in wanted if name in release.exchanges]
    if not exchanges:
        major, minor = release.version
        raise ValueError(
            f"OpenSSH {major}.{minor} on this node knows no key exchange that withstands a quantum computer: "
            "set ssh_profile to policy, or use a newer image"
        )
    macs = ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"]
    return {
        "HostKey": [ED25519_KEY, RSA_KEY] if profile == "policy" and not modern else [ED25519_KEY],
        "KexAlgorithms": [",".join(exchanges)],
        "Ciphers": [_CIPHERS],
        "MACs": [",".join([*(macs if modern else macs[::-1]), "umac-128-etm@openssh.com"])],
        "HostKeyAlgorithms": [_SIGNATURES],
        "CASignatureAlgorithms": ["sk-ssh-ed25519@openssh.com,ssh-ed25519,rsa-sha2-512,rsa-sha2-256"],
        "HostbasedAcceptedAlgorithms": [_SIGNATURES],
        "PubkeyAcceptedAlgorithms": [_SIGNATURES],
        "GSSAPIKexAlgorithms": ["gss-curve25519-sha256-,gss-group16-sha512-"],
        "RequiredRSASize": ["3072"],
    }


def exempt_sources(controller: str | None, networks: Sequence[str]) -> list[str]:
    """Return the value of PerSourcePenaltyExemptList as a list of one, or none where nobody is to be exempt.

    Args:
        controller: the controller's address as the node sees it, if it came by ssh.
        networks: addresses and networks of the inventory.

    Raises:
        ValueError: one of `networks` is neither an address nor a network.
    """
    sources = []
    for network in networks:
        try:
            sources.append(str(ipaddress.ip_network(network)))
        except ValueError as error:
            raise ValueError(
                f"ssh_exempt has {network!r}, wanted is an address or a network such as 192.168.63.0/24 ({error})"
            ) from error
    # A link-local address has its interface behind it, which sshd's list cannot hold.
    if controller and "%" not in controller:
        own = network_of(controller)
        nets = [ipaddress.ip_network(source) for source in sources]
        if not any(own.network_address in net for net in nets):
            sources.insert(0, str(own))
    return [",".join(source.removesuffix("/32").removesuffix("/128") for source in sources)] if sources else []


def merged_policy(settings: Mapping[str, Any], policy: Mapping[str, list[str]] | None = None) -> dict[str, list[str]]:
    """Return keyword to values: access, then `policy`, then the user's `settings`.

    Raises:
        ValueError: a keyword or a value that cannot stand on one line of sshd_config.
    """
    merged = {keyword: [value] for keyword, value in ACCESS.items()} | dict(policy or {})
    known = {keyword.lower(): keyword for keyword in merged}
    for keyword, value in settings.items():
        if not _KEYWORD.fullmatch(str(keyword)) or str(keyword).lower() in {"match", "include"}:
            raise ValueError(
                f"ssh_settings has the keyword {keyword!r}, wanted is a keyword of sshd_config(5) other than "
                "Match and Include"
            )
        name = _NEW_NAMES.get(str(keyword).lower(), str(keyword))
        name = known.get(name.lower(), name)
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = [_word(name, element) for element in (value if isinstance(value, list) else [value])]
    return merged


def _word(keyword: str, value: object) -> str:
    # YAML reads a bare yes or no as a truth value, which is not how sshd spells it.
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list)) or not str(value).strip() or "\n" in str(value):
        raise ValueError(
            f"ssh_settings gives {keyword} the value {value!r}, wanted is what stands after it on its line of "
            "sshd_config(5)"
        )
    return str(value).strip()


def spelt_for(release: Release, policy: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return a policy with the names of keywords that a release knows."""
    return {
        _RENAMED[keyword][0] if release.version < _RENAMED.get(keyword, ("", (0, 0)))[1] else keyword: values
        for keyword, values in policy.items()
    }


def accepted_algorithms(wanted: Mapping[str, list[str]]) -> str:
    """Return which keys sshd says it takes of users, by the new name or the former; empty if it does not say."""
    return wanted.get("pubkeyacceptedalgorithms", wanted.get("pubkeyacceptedkeytypes", [""]))[0]


def render(policy: Mapping[str, list[str]]) -> str:
    """Return the drop-in's text."""
    return HEADER + "".join(f"{keyword} {value}\n" for keyword, values in policy.items() for value in values)


def unknown_keywords(complaint: str, settings: Iterable[str]) -> set[str]:
    """Return, in lower case, which keywords this release does not know and need not know.

    Args:
        complaint: what sshd says of the policy.
        settings: the user's own keywords, which are never left out behind the user's back.
    """
    named = {word.lower() for word in _UNKNOWN.findall(complaint)}
    return (named & OPTIONAL) - {str(keyword).lower() for keyword in settings}


def parse_effective(output: str) -> dict[str, list[str]]:
    """Return lower-case keyword to values from what `sshd -T` prints."""
    effective: dict[str, list[str]] = {}
    for line in output.splitlines():
        keyword, _, value = line.partition(" ")
        effective.setdefault(keyword.lower(), []).append(value.strip())
    return effective


def overruled(policy: Iterable[str], wanted: Mapping[str, list[str]], effective: Mapping[str, list[str]]) -> str | None:
    """Return one sentence if a keyword of the policy is not in effect, else None.

    Args:
        policy: the keywords in question.
        wanted: what sshd makes of the drop-in alone, so that both sides are spelt the same way.
        effective: what sshd makes of all its files for the user.
    """
    own = {keyword.lower() for keyword in policy}
    if "allowgroups" in own and "allowusers" in set(effective) - own:
        return (
            f"sshd would let in only AllowUsers {' '.join(effective['allowusers'])}, whoever is in ssh_operators: take "
            "that line out of /etc/ssh/sshd_config or the files in /etc/ssh/sshd_config.d"
        )
    for keyword in policy:
        name = keyword.lower()
        if name in _LET_IN and effective.get(name) != wanted.get(name):
            return (
                f"sshd would let in {keyword} {' '.join(effective.get(name, ['(nobody)']))} instead of "
                f"{' '.join(wanted.get(name, ['(nobody)']))}: /etc/ssh/sshd_config or another file in "
                f"/etc/ssh/sshd_config.d has a line {keyword}, which adds to it or takes its place; take that out"
            )
        # Keywords that gather values (AcceptEnv, HostKey) show other files' values after ours.
        if wanted.get(name) != effective.get(name, [])[: len(wanted.get(name, []))] and name in wanted:
            return (
                f"sshd would use {keyword} {' '.join(effective.get(name, ['(nothing)']))} instead of "
                f"{' '.join(wanted.get(name, ['(nothing)']))}: a setting in /etc/ssh/sshd_config before its "
                "Include line, a file in "
                "/etc/ssh/sshd_config.d that sorts before 00-picluster.conf, a Match block or a missing "
                "Include line overrules it; take that out"
            )
    return None


def strong_moduli(text: str, bits: int = 3071) -> str:
    """Return the lines of a moduli file (moduli(5)) whose size is at least `bits`, and its comments."""
    kept = []
    for line in text.splitlines(keepends=True):
        fields = line.split()
        if line.startswith("#") or (len(fields) >= 5 and fields[4].isdigit() and int(fields[4]) >= bits):  # noqa: PLR2004 - a field's place in its format
            kept.append(line)
    return "".join(kept)
