"""The host keys of the cluster: recorded at first use, removed when a card is burnt again."""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Verdict(enum.Enum):
    """What known_hosts says about the host key of a node."""

    KNOWN = "known"
    NEW = "new"
    OTHER = "other"
    # Markers, patterns, or a key of another type: ssh itself has to decide.
    UNSURE = "unsure"


def judge(text: str, name: str, key: str) -> Verdict:
    """Return whether a known_hosts file holds this key for this name.

    The name is that of the node, which ssh uses as HostKeyAlias; the key is type and base64 text, as in known_hosts.
    """
    held = set()
    for hosts, kept in _entries(text):
        if hosts.startswith("@") or (not hosts.startswith("|") and set(hosts) & set("*?!")):
            return Verdict.UNSURE
        if _is_for(hosts, {name}):
            held.add(kept)
    if not key:
        return Verdict.UNSURE
    if key in held:
        return Verdict.KNOWN
    if not held:
        return Verdict.NEW
    kind, _, _ = key.partition(" ")
    same_type = any(kept.startswith(f"{kind} ") for kept in held)
    return Verdict.OTHER if same_type else Verdict.UNSURE


def add(text: str, keys: Mapping[str, str]) -> str:
    """Return a known_hosts file with the keys of these names appended."""
    between = "" if not text or text.endswith("\n") else "\n"
    return text + between + "".join(f"{name} {key}\n" for name, key in keys.items())


def fingerprint(key: str) -> str:
    """Return the fingerprint that ssh shows: SHA256 and the digest in base64, without padding."""
    try:
        digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    except (IndexError, binascii.Error):
        return "unreadable"
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield the hosts (or the marker) and the key, without its comment, of each line with both."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 2 and not words[0].startswith("#"):  # noqa: PLR2004 - hosts, type, key
            yield words[0], f"{words[1]} {words[2]}"


def forget(text: str, names: Iterable[str]) -> str:
    """Return a known_hosts file without the entries of these names; all other lines stay unchanged.

    Names may be plain or hashed (man sshd, "SSH_KNOWN_HOSTS FILE FORMAT"). Lines with a marker (@cert-authority,
    @revoked) belong to the user and stay.
    """
    forgotten = set(names)
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.strip() or not _is_for(line.split(None, 1)[0], forgotten))


def _is_for(hosts: str, names: set[str]) -> bool:
    if hosts.startswith("|1|"):
        return any(_hashed(hosts, name) for name in names)
    return any(host in names for host in hosts.split(","))


def _hashed(entry: str, name: str) -> bool:
    try:
        _, _, salt, digest = entry.split("|")
        expected = base64.b64decode(digest)
        made = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(expected, made)
