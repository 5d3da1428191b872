# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Docker's settings, the secrets in them, and what of a node's Docker picluster installed. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.docker.keys import KEYS
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.forms import refuse_near_misses

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MARK = "/var/lib/picluster/docker"
_SECRET_KEY = re.compile(r"token|secret|password|passwd|credential|access-?key|api-?key", re.IGNORECASE)
# The user part of an URL (RFC 3986 section 3.2.1), as in the proxies of daemon.json.
_URL_PASSWORD = re.compile(r"//[^/@\s:]*:([^/@\s]+)@")


def render(daemon: dict[str, Any]) -> str:
    """Return the text of daemon.json."""
    return json.dumps(daemon, indent=2, sort_keys=True) + "\n"


def check_keys(daemon: Iterable[str]) -> None:
    """Raise UserError if one of the keys of daemon.json is a slip."""
    refuse_near_misses("daemon", daemon, KEYS)


def missing_users(users: list[str], known: set[str], members: set[str]) -> list[str]:
    """Return the users that must be made members, in order."""
    unknown = [user for user in users if user not in known]
    if unknown:
        raise UserError(
            f"users contains users that do not exist on this node: {', '.join(unknown)}; create them, or remove them "
            "from the setting"
        )
    return [user for user in users if user not in members]


def cause_of_failure(journal: str) -> str:
    """Return the last line of dockerd's journal that says why it did not start, or an empty text."""
    lines = [line.strip() for line in journal.splitlines()]
    for word in ("unable to configure the Docker daemon", "failed to start daemon", "level=fatal", "Error"):
        for line in reversed(lines):
            if word in line:
                return line
    return ""


@dataclass(frozen=True)
class EngineMark:
    """What picluster did to a node's Docker, so that removing the layer removes nothing else.

    Attributes:
        packages: The packages it installed.
        users: The users it added to the group docker.
        config: daemon.json as it was before, None if there was none.
    """

    packages: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    config: str | None = None

    def text(self) -> str:
        """Return the text that read_mark reads."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


def read_mark(text: str | None) -> EngineMark | None:
    """Parse a mark; return None where there is none."""
    if text is None:
        return None
    try:
        said = json.loads(text)
        config = said["config"]
        return EngineMark(tuple(map(str, said["packages"])), tuple(map(str, said["users"])), config and str(config))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{MARK} is damaged: {error!r}; delete it to have the installed Docker treated as the user's own"
        ) from error


def joined(mark: EngineMark, packages: list[str], users: list[str]) -> EngineMark:
    """Return the mark with further packages and users."""
    return EngineMark(
        tuple(dict.fromkeys([*mark.packages, *packages])), tuple(dict.fromkeys([*mark.users, *users])), mark.config
    )


def secrets(daemon: object, key: str = "") -> Iterator[str]:
    """Yield the secrets in daemon.json: passwords within URLs, and texts under keys such as token."""
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
    """Return the secrets in the text of a daemon.json, none if it is not JSON."""
    try:
        loaded: Any = json.loads(text or "{}")
    except ValueError:
        return set()
    return set(secrets(loaded))


def mode_of(text: str | None) -> int:
    """Return the mode of a daemon.json: only root may read one with a secret."""
    return 0o600 if secrets_in(text) else 0o644
