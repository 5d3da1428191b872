"""What looks empty is looked at, and what cannot be looked at is not empty."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from diskkit import device

from picluster.devices import safety
from picluster.devices.asking import looked_at

if TYPE_CHECKING:
    from picluster.devices import Device

HEAD = 128 << 10
UNKNOWN = "data of an unknown kind"
HEADS: dict[str, tuple[bytes | OSError, str]] = {
    "zeros": (bytes(HEAD), ""),
    "erased to ones": (b"\xff" * HEAD, ""),
    "a container without any signature": (os.urandom(HEAD), UNKNOWN),
    "one byte at the end": (bytes(HEAD - 1) + b"\1", UNKNOWN),
    "zeros and ones": (bytes(HEAD // 2) + b"\xff" * (HEAD // 2), UNKNOWN),
    "nothing came": (b"", UNKNOWN),
    "no right": (OSError(errno.EACCES, "no right to use it"), "what cannot be read (no right to use it)"),
    "a failing card": (OSError(errno.EIO, "the card failed"), "what cannot be read (the card failed)"),
}


@pytest.mark.parametrize(("head", "contents"), HEADS.values(), ids=HEADS)
def test_auto_takes_only_what_was_seen_to_be_blank(head: bytes | OSError, contents: str) -> None:
    def peek(card: Device, offset: int, length: int) -> bytes:
        assert (card, offset, length) == (device(), 0, HEAD)
        if isinstance(head, OSError):
            raise head
        return head

    (found,) = looked_at([device()], peek)
    assert found == device(contents=contents)
    assert safety.auto_refusal(found) == (contents and f"it holds {contents}")


def test_only_what_auto_might_take_is_read() -> None:
    others = [device(removable=False), device(size=0), device(contents="vfat")]

    def peek(card: Device, offset: int, length: int) -> bytes:
        raise AssertionError(card)

    assert looked_at(others, peek) == others
