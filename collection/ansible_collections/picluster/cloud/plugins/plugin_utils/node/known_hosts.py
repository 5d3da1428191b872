# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Host keys: those in known_hosts, and those that machines at some addresses present. No login."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    # An address and a port.
    Place = tuple[str, int]

# For nodes whose key is unknown, where only an answer counts; every generation of cards has one of these two.
USUAL_TYPES = ("ssh-ed25519", "ssh-rsa")
# The types of known_hosts by their names in ssh-keyscan.
_SCAN_TYPES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}
# Seconds beyond the timeout of one address, as ssh-keyscan cannot query many addresses all at once.
_SLACK = 20


def entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield the hosts and the key (``type base64``) of each line of known_hosts that has both and no marker.

    Markers and patterns are the user's own and do not identify a node (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
    """
    for line in text.splitlines():
        words = line.split()
        if len(words) > 2 and not words[0].startswith(("#", "@")):  # noqa: PLR2004 - hosts, type, key
            yield words[0], f"{words[1]} {words[2]}"


def host_keys(text: str, names: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the keys that a known_hosts file holds for each of these names."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for hosts, key in entries(text):
        for name in named(hosts, found):
            found[name].add(key)
    return {name: frozenset(keys) for name, keys in found.items()}


def named(hosts: str, names: Iterable[str]) -> Iterator[str]:
    """Yield those of these names that an entry's hosts, plain or hashed, include."""
    if hosts.startswith("|1|"):
        yield from (name for name in names if _is_hash_of(hosts, name))
    else:
        listed = set(hosts.split(","))
        yield from (name for name in names if name in listed)


def _is_hash_of(entry: str, name: str) -> bool:
    try:
        _, _, salt, digest = entry.split("|")
        made = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
        return hmac.compare_digest(base64.b64decode(digest), made)
    except (ValueError, binascii.Error):
        return False


def scan(places: Collection[Place], types: Collection[str], seconds: int) -> dict[Place, frozenset[str]]:
    """Return the host keys at each place that answers, as ``type base64``.

    Args:
        places: The places to query, all at once.
        types: The types of keys, by their names in known_hosts.
        seconds: The timeout of one place.

    Raises:
        OSError: there is no ssh-keyscan.
    """
    kinds = ",".join(sorted({_scan_type(kind) for kind in types}))
    found: dict[Place, set[str]] = {}
    for port in sorted({port for _address, port in places}):
        addresses = sorted({address for address, its in places if its == port})
        command = ["ssh-keyscan", "-T", str(seconds), "-p", str(port), "-t", kinds, "-f", "-"]
        for address, key in parse_scan(_output(command, "\n".join(addresses) + "\n", seconds + _SLACK)):
            found.setdefault((address, port), set()).add(key)
    return {place: frozenset(keys) for place, keys in found.items()}


def _scan_type(kind: str) -> str:
    return _SCAN_TYPES.get(kind) or ("ecdsa" if kind.startswith("ecdsa-sha2-") else kind)


def parse_scan(output: str) -> Iterator[tuple[str, str]]:
    """Yield address and key of each line of ssh-keyscan, which puts an address with another port in brackets."""
    for line in output.splitlines():
        words = line.split()
        if len(words) >= 3 and not line.startswith("#"):  # noqa: PLR2004 - address, type, key
            yield words[0].partition("]")[0].lstrip("["), f"{words[1]} {words[2]}"


def _output(command: list[str], text: str, seconds: int) -> str:
    # Its exit code only shows that one of many did not answer.
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        return output.decode(errors="replace") if isinstance(output, bytes) else output
    return done.stdout
