# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Tell which properties of Hadoop hold a secret, and keep their values out of the output. Pure."""

from __future__ import annotations

import re

# After Hadoop's own hadoop.security.sensitive-config-keys (core-default.xml of 3.5.0), and wider.
_SECRET = re.compile(
    r"secret|passw(or)?d|passphrase|\bpass\b|account\.key\.|(key|token|credentials?)$",
    re.IGNORECASE,
)
# Names of properties about a secret that do not hold it: its place, lifetime, provider.
_HARMLESS = re.compile(
    r"[.-](files?|path|paths|dir|uri|url|class|classes|type|provider|alias|enabled?|required|algorithm|"
    r"interval|lifetime|expiration|expiry|length|size|bits|ms|sec|secs|seconds|timeout)$",
    re.IGNORECASE,
)
_PROPERTY = re.compile(r"(<name>([^<]*)</name>\s*<value)(?:>([^<]*)</value>| */>)")
HIDDEN = "a secret"
# Shorter values are part of many words; masking them would make the output unreadable.
LEAST_HIDDEN = 8


def is_secret(name: str) -> bool:
    """Return whether a property of this name holds a secret."""
    return bool(_SECRET.search(name)) and not _HARMLESS.search(name)


def hide(properties: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return properties by file as they may be shown."""
    return {
        site: {name: HIDDEN if is_secret(name) else value for name, value in values.items()}
        for site, values in properties.items()
    }


def secrets_of(properties: dict[str, dict[str, str]]) -> set[str]:
    """Return the values to mask in all output: those long enough to be searched for in any text."""
    return {
        value
        for values in properties.values()
        for name, value in values.items()
        if is_secret(name) and len(value) >= LEAST_HIDDEN
    }


def hide_in_texts(before: str, after: str) -> tuple[str, str]:
    """Return two versions of a site's XML for a diff, which shows that a secret changed but not the secret."""
    known = {match[2]: match[3] for match in _PROPERTY.finditer(before)}

    def replace(match: re.Match[str], word: str) -> str:
        return f"{match[1]}>{word}</value>" if is_secret(match[2]) else match[0]

    def new(match: re.Match[str]) -> str:
        same = match[2] not in known or known[match[2]] == match[3]
        return replace(match, HIDDEN if same else "another secret")

    return _PROPERTY.sub(lambda match: replace(match, HIDDEN), before), _PROPERTY.sub(new, after)
