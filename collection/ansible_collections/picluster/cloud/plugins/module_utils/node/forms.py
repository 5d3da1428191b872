# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What values that several subjects have may look like: users, paths, addresses and checksums of downloads. Pure."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.hostname import is_user

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

# Long enough to resist a forged file; md5 and sha1 are not.
_ALGORITHM_BY_DIGITS = {64: "sha256", 96: "sha384", 128: "sha512"}

# How similar two keys are of which one is a slip.
_NEAR = 0.85


@dataclass(frozen=True)
class Checksum:
    """A checksum with the name of its algorithm."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


def parse_checksum(text: str) -> Checksum:
    """Parse `sha256:<hex>`, `sha512:<hex>` or the bare digits; raise UserError for what does not resist forgery."""
    algorithm, _, digits = text.strip().lower().rpartition(":")
    found = _ALGORITHM_BY_DIGITS.get(len(digits)) if re.fullmatch(r"[0-9a-f]+", digits) else None
    if found is None or algorithm not in ("", found):
        raise UserError(
            f"the checksum is invalid: '{text}'; expected sha256:<64 hex digits> or sha512:<128 hex digits>"
        )
    return Checksum(found, digits)


def check_checksums(checksums: Iterable[str]) -> None:
    """Raise UserError if one of these is no checksum; an empty one stands for none."""
    for text in filter(None, checksums):
        parse_checksum(text)


def check_users(name: str, users: Iterable[str]) -> None:
    """Raise UserError if one of the option's users cannot have that name."""
    for user in users:
        if not is_user(user):
            raise UserError(f"{name} contains {user!r}; expected user names such as pi")


def check_path(name: str, path: str) -> None:
    """Raise UserError if a path on a node is not absolute."""
    if not path.startswith("/"):
        raise UserError(f"{name} is not an absolute path: {path!r}; expected one that begins with /")


def check_url(name: str, url: str, schemes: Iterable[str] = ("https",)) -> str:
    """Return `url`; raise UserError if it is not the address of a download."""
    if not re.fullmatch(rf"({'|'.join(schemes)})://[^\s/]+(/\S*)?", url):
        expected = " or ".join(f"{scheme}://" for scheme in schemes)
        raise UserError(f"{name} is not an address of a download: {url!r}; expected one that begins with {expected}")
    return url


def refuse_near_misses(name: str, keys: Iterable[str], known: Collection[str]) -> None:
    """Raise UserError if one of the keys of the option `name` is not known, but almost one that is."""
    for key in keys:
        near = [] if key in known else difflib.get_close_matches(key, sorted(known), n=1, cutoff=_NEAR)
        if near:
            raise UserError(f"{name} contains {key}; did you mean {near[0]}?")
