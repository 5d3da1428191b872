# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What of a node's Docker is picluster's, and what in its settings nobody should see. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "/var/lib/picluster/docker"
_SECRET_KEY = re.compile(r"token|secret|password|passwd|credential|access-?key|api-?key", re.IGNORECASE)
# The user part of an URL (RFC 3986 section 3.2.1), as in the proxies of daemon.json.
_URL_PASSWORD = re.compile(r"//[^/@\s:]*:([^/@\s]+)@")


@dataclass(frozen=True)
class Mark:
    """What picluster did to a node's Docker, so that taking the layer away takes only that away.

    Attributes:
        packages: what it installed.
        users: whom it made members of the group docker.
        config: daemon.json as it was before, None if there was none.
    """

    packages: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    config: str | None = None

    def text(self) -> str:
        """Return the content of the mark's file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


def read_mark(text: str | None) -> Mark | None:
    """Return what a mark's file says, None where there is none.

    Raises:
        ValueError: it is none of ours, or broken; the message is one sentence.
    """
    if text is None:
        return None
    try:
        said = json.loads(text)
        config = said["config"]
        return Mark(tuple(map(str, said["packages"])), tuple(map(str, said["users"])), config and str(config))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{MARK} does not say what picluster installed ({error}): without the file, Docker here is not picluster's"
        ) from error


def joined(mark: Mark, packages: list[str], users: list[str]) -> Mark:
    """Return the mark with further packages and users."""
    return Mark(
        tuple(dict.fromkeys([*mark.packages, *packages])), tuple(dict.fromkeys([*mark.users, *users])), mark.config
    )


def secrets(daemon: object, key: str = "") -> Iterator[str]:
    """Yield what is secret in daemon.json: passwords within URLs, and texts under keys that say so."""
    if isinstance(daemon, dict):
        for name, value in daemon.items():
            yield from secrets(value, str(name))
    elif isinstance(daemon, list):
        for value in daemon:
            # dockerd takes some settings as key=value.
            yield from secrets(value, key)
    elif isinstance(daemon, str) and daemon:
        name, equals, value = daemon.partition("=")
        if _SECRET_KEY.search(key):
            yield daemon
        elif equals and value and _SECRET_KEY.search(name):
            yield value
        yield from _URL_PASSWORD.findall(daemon)


def secrets_in(text: str | None) -> set[str]:
    """Return what is secret in the text of a daemon.json, as far as it can be read."""
    try:
        loaded: Any = json.loads(text or "{}")
    except ValueError:
        return set()
    return set(secrets(loaded))


def mode_of(text: str) -> int:
    """Return who may read a daemon.json: only root if it holds a secret."""
    return 0o600 if secrets_in(text) else 0o644
