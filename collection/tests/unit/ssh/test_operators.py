"""Operators: which entries are valid, and which keys sshd would accept."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import (
    PublicKey,
    parse_key,
    parse_keys,
    parse_operators,
    refusal,
)


def key(kind: str, *parts: bytes) -> str:
    blob = b"".join(struct.pack(">I", len(part)) + part for part in (kind.encode(), *parts))
    return f"{kind} {base64.b64encode(blob).decode()} me@home"


def rsa(bits: int) -> str:
    return key("ssh-rsa", b"\x01\x00\x01", b"\x00" + (1 << (bits - 1)).to_bytes(bits // 8, "big"))


ED25519 = key("ssh-ed25519", b"k" * 32)
OTHER = key("ssh-ed25519", b"o" * 32)
ECDSA = key("ecdsa-sha2-nistp256", b"nistp256", b"x" * 65)
ACCEPTED = "ssh-ed25519,rsa-sha2-512"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", None),
        ("# nothing", None),
        (f"#{ED25519}", None),
        ("ssh-ed25519 short", None),
        ("ssh-ed25519 " + "A" * 43, None),
        (ED25519.replace("ssh-ed25519", "ssh-rsa", 1), None),
        (ED25519[:50], None),
        (ED25519, PublicKey("ssh-ed25519")),
        (f'from="10.0.0.0/8",no-pty {ED25519}', PublicKey("ssh-ed25519")),
        (ECDSA, PublicKey("ecdsa-sha2-nistp256")),
        (rsa(2048), PublicKey("ssh-rsa", 2048)),
        (rsa(4096), PublicKey("ssh-rsa", 4096)),
    ],
)
def test_only_real_keys_count(line: str, found: PublicKey | None) -> None:
    assert parse_key(line) == found


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([ED25519], None),
        ([rsa(3072)], None),
        ([ECDSA, ED25519], None),
        ([rsa(2048)], "RSA of 2048 bits"),
        ([ECDSA, rsa(2048), ECDSA], "ecdsa-sha2-nistp256, RSA of 2048 bits"),
    ],
)
def test_keys_that_sshd_would_refuse_are_told_apart(keys: list[str], reason: str | None) -> None:
    assert refusal(parse_keys("\n".join(keys)), ACCEPTED, 3072) == reason


def test_a_release_that_does_not_say_what_it_takes_is_left_to_the_new_login() -> None:
    assert refusal(parse_keys(ECDSA), "", 0) is None


def test_operators_are_read_with_each_key_once() -> None:
    operators = parse_operators({"pi": {"keys": [ED25519, f" {ED25519}\n", OTHER], "sudo": True}})
    assert operators["pi"].keys == (ED25519, OTHER)
    assert operators["pi"].text.splitlines()[1:] == [ED25519, OTHER]
    assert "pi ALL=(ALL:ALL) NOPASSWD: ALL\n" in operators["pi"].sudoers


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"root": {"keys": [ED25519]}}, "operators contains the user 'root'; expected a lowercase user name"),
        ({"a b": {"keys": [ED25519]}}, "the user 'a b'"),
        ({"../x": {"keys": [ED25519]}}, "the user '../x'"),
        ({"pi": [ED25519]}, "expected a mapping"),
        ({"pi": {"keys": [ED25519], "sudoo": True}}, "expected a mapping"),
        ({"pi": {}}, "operators.pi has no keys; add a list of public keys"),
        ({"pi": {"keys": []}}, "no keys"),
        ({"pi": {"keys": ED25519}}, "no keys"),
        ({"pi": {"keys": ["~/.ssh/id_rsa.pub"]}}, "operators.pi.keys contains"),
        ({"pi": {"keys": [f"{ED25519}\n{OTHER}"]}}, "operators.pi.keys contains"),
        (
            {"pi": {"keys": [ED25519], "sudo": "yes please"}},
            "operators.pi.sudo is 'yes please'; expected true or false",
        ),
    ],
)
def test_operators_that_cannot_be_are_refused(value: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_operators(value)
    assert words in str(caught.value)


SECRET = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize("value", [{"keys": [SECRET]}, SECRET, {"keys": [ED25519], "sudo": SECRET}])
def test_a_private_key_in_place_of_the_public_one_is_not_shown(value: object) -> None:
    with pytest.raises(UserError, match=r"(is|contains) a private key; expected") as caught:
        parse_operators({"pi": value})
    assert "b3Blbn" not in str(caught.value)
