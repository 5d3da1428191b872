"""Forget the host keys of nodes whose cards are burnt anew: a new card makes new host keys."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def forget(text: str, names: Iterable[str]) -> str:
    """Return a known_hosts file without the entries of these names; all other lines stay as they are.

    Entries are found by the node's name, which ssh uses as HostKeyAlias, in plain or hashed form (man sshd, "SSH_KNOWN_
    HOSTS FILE FORMAT"). Lines with a marker (@cert-authority, @revoked) are the user's and stay.
    """
    wanted = set(names)
    return "".join(line for line in text.splitlines(keepends=True) if not _matches(line, wanted))


def _matches(line: str, names: set[str]) -> bool:
    hosts = line.split(None, 1)[0] if line.strip() else ""
    if hosts.startswith("|1|"):
        return any(_hashed(hosts, name) for name in names)
    return any(host in names for host in hosts.split(","))


def _hashed(entry: str, name: str) -> bool:
    try:
        _, _, salt, digest = entry.split("|")
        wanted = base64.b64decode(digest)
        made = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(wanted, made)
