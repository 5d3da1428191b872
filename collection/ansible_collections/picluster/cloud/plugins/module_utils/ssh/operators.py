# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Operators: who may log in to a node, with which keys, with sudo or without. Pure."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The only group that may log in where operators are listed.
GROUP = "picluster-ssh"

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_LONGEST_SHOWN = 120
# Key types of sshd(8), AUTHORIZED_KEYS FILE FORMAT; options may precede them.
_KEY = re.compile(r"(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+)\s+([A-Za-z0-9+/]{30,}={0,3})(?:\s|$)")


@dataclass(frozen=True)
class PublicKey:
    """The key on a line of an authorized_keys file; `bits` is the size of an RSA key's modulus, 0 for others."""

    kind: str
    bits: int = 0


@dataclass(frozen=True)
class Operator:
    """A user who may log in: all lines of authorized_keys, and whether sudo makes the user root without a password."""

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
        """The whole sudoers drop-in."""
        return f"# Written by picluster (role ssh).\n{self.name} ALL=(ALL:ALL) NOPASSWD: ALL\n"


def parse_key(line: str) -> PublicKey | None:
    """Return the key on a line of authorized_keys, or None."""
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
    """Return why sshd would accept none of these keys (at least one), or None if it would accept one.

    `algorithms` is PubkeyAcceptedAlgorithms as `sshd -T` prints it, empty if unknown; `smallest_rsa` RequiredRSASize.
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
    """Return the user's value for a message; a private key, pasted for the public one, is not shown."""
    said = repr(value)
    if "private" in said.lower():
        return "a private key"
    return said if len(said) <= _LONGEST_SHOWN else f"{said[:_LONGEST_SHOWN]}..."


def check_own_user(user: str, operators: Iterable[str]) -> None:
    """Raise UserError if only others than the user that Ansible logs in as may log in."""
    if operators and user not in operators:
        raise UserError(f"operators does not contain {user}, the user that Ansible logs in as; add it with its keys")


def parse_operators(value: Mapping[str, Any]) -> dict[str, Operator]:
    """Return the operators by name; raise UserError if an entry is invalid."""
    operators = {}
    for name, entry in value.items():
        if not _NAME.fullmatch(str(name)) or name == "root":
            raise UserError(f"operators contains the user {name!r}; expected a lowercase user name other than root")
        if not isinstance(entry, dict) or not set(entry) <= {"keys", "sudo"}:
            raise UserError(
                f"operators.{name} is {_shown(entry)}; expected a mapping such as {{keys: [ssh-ed25519 AAAA...], "
                "sudo: true}"
            )
        keys, sudo = entry.get("keys"), entry.get("sudo", False)
        if not isinstance(keys, list) or not keys:
            raise UserError(f"operators.{name} has no keys; add a list of public keys, or remove {name}")
        for key in keys:
            if not isinstance(key, str) or "\n" in key.strip() or not parse_key(key):
                raise UserError(
                    f"operators.{name}.keys contains {_shown(key)}; expected public keys, each one line of a .pub file"
                )
        if not isinstance(sudo, bool):
            raise UserError(f"operators.{name}.sudo is {_shown(sudo)}; expected true or false")
        operators[str(name)] = Operator(str(name), tuple(dict.fromkeys(key.strip() for key in keys)), sudo)
    return operators
