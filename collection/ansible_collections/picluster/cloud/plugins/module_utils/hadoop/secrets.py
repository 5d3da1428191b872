# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Which properties of Hadoop hold a secret, and how their values stay out of what a run shows."""

from __future__ import annotations

import re

# After Hadoop's own hadoop.security.sensitive-config-keys (core-default.xml of 3.5.0), and wider.
_SECRET = re.compile(
    r"secret|passw(or)?d|passphrase|\bpass\b|account\.key\.|(key|token|credentials?)$",
    re.IGNORECASE,
)
# Names about a secret that hold none: where it is, how long it lasts, who makes it.
_HARMLESS = re.compile(
    r"[.-](files?|path|paths|dir|uri|url|class|classes|type|provider|alias|enabled?|required|algorithm|"
    r"interval|lifetime|expiration|expiry|length|size|bits|ms|sec|secs|seconds|timeout)$",
    re.IGNORECASE,
)
_PROPERTY = re.compile(r"(<name>([^<]*)</name>\s*<value)(?:>([^<]*)</value>| */>)")
HIDDEN = "a secret"
# Anything shorter is part of many a word, and hiding it would make the output unreadable.
LEAST_HIDDEN = 8


def is_secret(name: str) -> bool:
    """Whether a property of this name holds a secret."""
    return bool(_SECRET.search(name)) and not _HARMLESS.search(name)


def hide(properties: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Properties by file, for show."""
    return {
        site: {name: HIDDEN if is_secret(name) else value for name, value in values.items()}
        for site, values in properties.items()
    }


def secrets_of(properties: dict[str, dict[str, str]]) -> set[str]:
    """The values that must be in no output, long enough to be looked for in any text."""
    return {
        value
        for values in properties.values()
        for name, value in values.items()
        if is_secret(name) and len(value) >= LEAST_HIDDEN
    }


def hide_in_texts(before: str, after: str) -> tuple[str, str]:
    """Two versions of a site's XML, for a diff: secrets are not in it, but that one has changed is."""
    known = {match[2]: match[3] for match in _PROPERTY.finditer(before)}

    def replace(match: re.Match[str], word: str) -> str:
        return f"{match[1]}>{word}</value>" if is_secret(match[2]) else match[0]

    def new(match: re.Match[str]) -> str:
        same = match[2] not in known or known[match[2]] == match[3]
        return replace(match, HIDDEN if same else "another secret")

    return _PROPERTY.sub(lambda match: replace(match, HIDDEN), before), _PROPERTY.sub(new, after)
