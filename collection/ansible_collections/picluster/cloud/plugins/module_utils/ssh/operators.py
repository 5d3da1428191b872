# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Who may log in to a node, with which keys and with sudo or without: pure functions over what the inventory says."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# sshd lets nobody else in where the inventory names the operators.
GROUP = "picluster-ssh"

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_LONGEST_SHOWN = 120
# Key types of sshd(8), AUTHORIZED_KEYS FILE FORMAT; options may stand before them.
_KEY = re.compile(r"(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+)\s+([A-Za-z0-9+/]{30,}={0,3})(?:\s|$)")


@dataclass(frozen=True)
class PublicKey:
    """A line of an authorized_keys file.

    Attributes:
        kind: Such as ssh-ed25519.
        bits: Size of an RSA key's modulus, 0 for others.
    """

    kind: str
    bits: int = 0


@dataclass(frozen=True)
class Operator:
    """One who may log in.

    Attributes:
        name: Account.
        keys: Lines of authorized_keys, all of them.
        sudo: May become root without a password.
    """

    name: str
    keys: tuple[str, ...]
    sudo: bool = False

    @property
    def text(self) -> str:
        """The whole authorized_keys file."""
        return "# Written by picluster (role ssh): change ssh_operators in the inventory instead.\n" + "".join(
            f"{key}\n" for key in self.keys
        )

    @property
    def sudoers(self) -> str:
        """The whole drop-in of sudo."""
        return f"# Written by picluster (role ssh).\n{self.name} ALL=(ALL:ALL) NOPASSWD: ALL\n"


def parse_key(line: str) -> PublicKey | None:
    """Return what key a line of authorized_keys holds, or None."""
    found = None if line.lstrip().startswith("#") else _KEY.search(line)
    if not found:
        return None
    kind, blob = found.groups()
    try:
        parts = _parts(base64.b64decode(blob + "=" * (-len(blob) % 4)))
    except (binascii.Error, struct.error):
        return None
    if not parts or parts[0] != kind.encode():
        return None
    # RFC 4253, 6.6: name, exponent, modulus with a leading zero byte.
    modulus = int.from_bytes(parts[2], "big") if kind == "ssh-rsa" and len(parts) > 2 else 0  # noqa: PLR2004 - a field's place in its format
    return PublicKey(kind, modulus.bit_length())


def _parts(blob: bytes) -> list[bytes]:
    parts = []
    while blob:
        (length,) = struct.unpack(">I", blob[:4])
        if length > len(blob) - 4:
            raise struct.error("cut off")
        parts.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return parts


def parse_keys(text: str) -> list[PublicKey]:
    """Return the keys of an authorized_keys file."""
    return [key for key in map(parse_key, text.splitlines()) if key]


def refusal(keys: Iterable[PublicKey], algorithms: str, smallest_rsa: int) -> str | None:
    """Return why sshd would take none of these keys, or None if it would take one.

    Args:
        keys: at least one.
        algorithms: PubkeyAcceptedAlgorithms as `sshd -T` says it, empty if it is not known.
        smallest_rsa: RequiredRSASize.
    """
    accepted = set(algorithms.split(","))
    reasons = []
    for key in keys:
        if key.kind == "ssh-rsa":
            if algorithms and not accepted & {"ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"}:
                reasons.append("RSA")
            elif key.bits < smallest_rsa:
                reasons.append(f"RSA of {key.bits} bits")
            else:
                return None
        elif algorithms and key.kind not in accepted:
            reasons.append(key.kind)
        else:
            return None
    return ", ".join(dict.fromkeys(reasons))


def _shown(value: object) -> str:
    """Return the user's value as a sentence may have it: a private key, pasted for the public one, stays unseen."""
    said = repr(value)
    if "private" in said.lower():
        return "a private key, which belongs on no node"
    return said if len(said) <= _LONGEST_SHOWN else f"{said[:_LONGEST_SHOWN]}..."


def parse_operators(value: Mapping[str, Any]) -> dict[str, Operator]:
    """Return the operators by name.

    Raises:
        ValueError: an entry that cannot be; one sentence.
    """
    operators = {}
    for name, entry in value.items():
        if not _NAME.fullmatch(str(name)) or name == "root":
            raise ValueError(
                f"ssh_operators has the user {name!r}, wanted is a user's name other than root, in small letters"
            )
        if not isinstance(entry, dict) or not set(entry) <= {"keys", "sudo"}:
            raise ValueError(
                f"ssh_operators gives {name} {_shown(entry)}, wanted is a mapping such as {{keys: [ssh-ed25519 "
                "AAAA...], sudo: true}}"
            )
        keys, sudo = entry.get("keys"), entry.get("sudo", False)
        if not isinstance(keys, list) or not keys:
            raise ValueError(f"ssh_operators gives {name} no keys, wanted is a list of public keys: or take {name} out")
        for key in keys:
            if not isinstance(key, str) or "\n" in key.strip() or not parse_key(key):
                raise ValueError(
                    f"ssh_operators gives {name} the key {_shown(key)}, wanted is a public key, the one line of a "
                    ".pub file"
                )
        if not isinstance(sudo, bool):
            raise ValueError(  # noqa: TRY004 - a value of the user's, not a slip in the code
                f"ssh_operators gives {name} sudo: {_shown(sudo)}, wanted is true or false"
            )
        operators[str(name)] = Operator(str(name), tuple(dict.fromkeys(key.strip() for key in keys)), sudo)
    return operators
