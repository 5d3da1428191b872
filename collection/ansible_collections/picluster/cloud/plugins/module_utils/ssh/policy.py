# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""sshd's policy by profile and release, its text, and how sshd reads it. Pure."""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import network_of
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.keywords import CHOICES, KEYWORDS
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

HEADER = "# Written by picluster (role ssh). In sshd the first value wins: this file sorts before all others.\n"
PROFILES = ("pq", "policy")
# From OpenSSH 9.8 on, a source of failed logins is locked out for a while, even a controller that tries a wrong key.
EXEMPT = "PerSourcePenaltyExemptList"

# What dev-sec's ssh-baseline and Lynis agree on for access; of two values the stricter one that Ansible works with.
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
    # Ansible needs one session at a time on a node; further ones open their own connection (measured with twelve).
    "MaxSessions": "2",
    "MaxStartups": "10:30:60",
    # One source must not use up all unauthenticated connections.
    "PerSourceMaxStartups": "5",
    "ClientAliveInterval": "300",
    "ClientAliveCountMax": "2",
}

# ssh-audit 3.9.0: hardening guides and built-in policies, which also check the order.
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
# The former names, and the first release with the new one. The former names still work.
_RENAMED = {
    "PubkeyAcceptedAlgorithms": ("PubkeyAcceptedKeyTypes", (8, 5)),
    "HostbasedAcceptedAlgorithms": ("HostbasedAcceptedKeyTypes", (8, 5)),
    # Until then the former name was a separate keyword, and its yes turned the other one on again.
    "KbdInteractiveAuthentication": ("ChallengeResponseAuthentication", (8, 7)),
}
_NEW_NAMES = {former.lower(): new for new, (former, _since) in _RENAMED.items()}
# Keywords that collect the values of all files and admit whoever is in any of them.
LET_IN = ("allowgroups", "allowusers")

ED25519_KEY = "/etc/ssh/ssh_host_ed25519_key"
# A separate file: Debian's ssh_host_rsa_key has 3072 bits, and its fingerprint may be on record somewhere.
RSA_KEY = "/etc/ssh/ssh_host_rsa4096_key"

# Unknown to older releases and to builds without GSSAPI or Kerberos; sshd has no IgnoreUnknown.
OPTIONAL = {
    EXEMPT.lower(),
    "gssapiauthentication",
    "gssapikexalgorithms",
    "hostbasedacceptedalgorithms",
    "kerberosauthentication",
    "persourcemaxstartups",
    "pubkeyacceptedalgorithms",
    "requiredrsasize",
}

_KNOWN = {keyword.lower(): keyword for keyword in sorted(KEYWORDS)}
_UNKNOWN = re.compile(r"Bad configuration option: (\w+)", re.IGNORECASE)


@dataclass(frozen=True)
class Release:
    """The node's OpenSSH: its major and minor version, and its key exchanges (`ssh -Q kex`)."""

    version: tuple[int, int]
    exchanges: frozenset[str]


def parse_version(text: str) -> tuple[int, int]:
    """Return major and minor version from the output of `ssh -V`; raise UserError if it is not OpenSSH."""
    found = re.match(r"OpenSSH_(\d+)\.(\d+)", text.strip())
    if not found:
        raise UserError(f"ssh -V prints {text.strip()!r}; expected OpenSSH")
    return int(found[1]), int(found[2])


def crypto(profile: str, release: Release) -> dict[str, list[str]]:
    """Return the cryptographic keywords of a profile; raise UserError if the release is too old for it.

    `pq` offers only post-quantum key exchanges (ssh-audit's standard audit); `policy` is exactly what ssh-audit's
    built-in policy for the release expects.
    """
    name = "OpenSSH {}.{} on this node".format(*release.version)
    if release.version < _FIRST_WITH_INCLUDE:
        raise UserError(f"{name} is too old: it reads no drop-in files; expected 8.2 or newer, use a newer image")
    modern = release.version >= _FIRST_WITH_POLICY_PQ
    preferred = _POLICY_9 if profile == "policy" and not modern else _PQ
    exchanges = [name for name in preferred if name in release.exchanges]
    if not exchanges:
        raise UserError(
            f"profile pq is not supported by {name}, which has no post-quantum key exchange; set profile to policy, or "
            "use a newer image"
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
    """Return the values of PerSourcePenaltyExemptList: one, or none if no source is exempt.

    Raises UserError if one of `networks` is neither an address nor a network.
    """
    sources = []
    for network in networks:
        try:
            sources.append(str(ipaddress.ip_network(network)))
        except ValueError as error:
            raise UserError(
                f"exempt contains {network!r}; expected addresses and networks such as 192.168.63.0/24 ({error})"
            ) from error
    # A link-local address ends in its interface, which sshd's list cannot express.
    if controller and "%" not in controller:
        own = network_of(controller)
        nets = [ipaddress.ip_network(source) for source in sources]
        if not any(own.network_address in net for net in nets):
            sources.insert(0, str(own))
    return [",".join(source.removesuffix("/32").removesuffix("/128") for source in sources)] if sources else []


def check_keywords(keywords: Iterable[str]) -> None:
    """Raise UserError if one of these cannot be a keyword of a drop-in of sshd_config."""
    for keyword in map(str, keywords):
        if keyword.lower() not in _KNOWN:
            # Match and Include are keywords, but not of a drop-in that shall hold for everybody.
            near = [] if keyword.lower() in {"match", "include"} else difflib.get_close_matches(keyword.lower(), _KNOWN)
            meant = (
                f"did you mean {_KNOWN[near[0]]}?" if near else "expected one of sshd_config(5), not Match or Include"
            )
            raise UserError(f"settings contains the keyword {keyword!r}; {meant}")


def merged_policy(settings: Mapping[str, Any], policy: Mapping[str, list[str]] | None = None) -> dict[str, list[str]]:
    """Return values by keyword: access, then `policy`, then the user's `settings`.

    Raises UserError if a keyword or a value does not fit on one line of sshd_config.
    """
    check_keywords(settings)
    merged = {keyword: [value] for keyword, value in ACCESS.items()} | dict(policy or {})
    known = {keyword.lower(): keyword for keyword in merged}
    for keyword, value in settings.items():
        name = _NEW_NAMES.get(str(keyword).lower(), str(keyword))
        name = known.get(name.lower(), name)
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = [_word(name, element) for element in (value if isinstance(value, list) else [value])]
    return merged


def _word(keyword: str, value: object) -> str:
    # YAML reads a bare yes or no as a boolean.
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list)) or not str(value).strip() or "\n" in str(value):
        raise UserError(f"settings.{keyword} is {value!r}; expected one line of text, as in sshd_config(5)")
    choices = CHOICES.get(_KNOWN.get(keyword.lower(), ""), ())
    if choices and str(value).strip().lower() not in {choice.lower() for choice in choices}:
        raise UserError(f"settings.{keyword} is {str(value)!r}; expected one of {', '.join(choices)}")
    return str(value).strip()


def spelt_for(release: Release, policy: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return a policy with the keywords' names on a release."""
    return {
        _RENAMED[keyword][0] if release.version < _RENAMED.get(keyword, ("", (0, 0)))[1] else keyword: values
        for keyword, values in policy.items()
    }


def desired_policy(
    options: Mapping[str, Any], release: Release, controller: str | None, *, exclusive: bool
) -> dict[str, list[str]]:
    """Return values by keyword, as the module's `profile`, `settings` and `exempt` and the release call for.

    The controller's address is the one that the node sees, None without ssh; `exclusive` is whether only operators may
    log in. Raises UserError if an option is invalid, or the release too old.
    """
    sources = exempt_sources(controller, options["exempt"])
    policy = crypto(options["profile"], release) | ({EXEMPT: sources} if sources else {})
    if exclusive:
        policy |= {"AllowGroups": [GROUP], "AuthorizedKeysFile": [".ssh/authorized_keys"]}
    return spelt_for(release, merged_policy(options["settings"], policy))


def spellings(keyword: str) -> set[str]:
    """Return, in lower case, the names under which sshd's releases know a keyword."""
    new = _NEW_NAMES.get(keyword.lower(), keyword).lower()
    return {new, *(former for former, name in _NEW_NAMES.items() if name.lower() == new)}


def accepted_algorithms(effective: Mapping[str, list[str]]) -> str:
    """Return the user keys that `sshd -T` accepts, by the new name or the former; empty if it lists none."""
    return effective.get("pubkeyacceptedalgorithms", effective.get("pubkeyacceptedkeytypes", [""]))[0]


def render(policy: Mapping[str, list[str]]) -> str:
    """Return the drop-in's text."""
    return HEADER + "".join(f"{keyword} {value}\n" for keyword, values in policy.items() for value in values)


def unknown_keywords(complaint: str, settings: Iterable[str]) -> set[str]:
    """Return, in lower case, the optional keywords that sshd complains of, except the user's own `settings`."""
    named = {word.lower() for word in _UNKNOWN.findall(complaint)}
    return (named & OPTIONAL) - {str(keyword).lower() for keyword in settings}


def parse_effective(output: str) -> dict[str, list[str]]:
    """Return values by lower-case keyword from the output of `sshd -T`."""
    effective: dict[str, list[str]] = {}
    for line in output.splitlines():
        keyword, _, value = line.partition(" ")
        effective.setdefault(keyword.lower(), []).append(value.strip())
    return effective


def check_in_effect(
    policy: Iterable[str],
    desired: Mapping[str, list[str]],
    effective: Mapping[str, list[str]],
    cause: Callable[[str], str],
) -> None:
    """Raise UserError if other files overrule one of the policy's keywords.

    `desired` is how sshd reads the drop-in alone, so that both sides are spelt the same way; `effective` is how it
    reads all its files for the user; `cause` returns for a keyword which line overrules it and what to do.
    """
    own = {keyword.lower() for keyword in policy}
    if "allowgroups" in own and "allowusers" in set(effective) - own:
        users = " ".join(effective["allowusers"])
        raise UserError(f"sshd would allow only AllowUsers {users} instead of operators: {cause('AllowUsers')}")
    for keyword in policy:
        name = keyword.lower()
        right, found = desired.get(name, []), effective.get(name, [])
        problem = f"{keyword} {' '.join(found) or '(nothing)'} instead of {' '.join(right) or '(nothing)'}"
        if name in LET_IN and found != right:
            raise UserError(f"sshd would allow {problem}: {cause(keyword)}")
        # Keywords that collect values (AcceptEnv, HostKey) show those of other files after ours.
        if name in desired and right != found[: len(right)]:
            raise UserError(f"sshd would use {problem}: {cause(keyword)}")


def strong_moduli(text: str, bits: int = 3071) -> str:
    """Return the lines of a moduli file (moduli(5)) with at least `bits`, and its comments."""

    def is_strong(fields: list[str]) -> bool:
        return len(fields) >= 5 and fields[4].isdigit() and int(fields[4]) >= bits  # noqa: PLR2004 - a field's place in its format

    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.startswith("#") or is_strong(line.split()))
