# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Which line of sshd's files sets a keyword: the files in the order in which sshd reads them. Pure.

A keyword's first value wins, but any value of a Match block that applies to the connection wins over all values outside
of such blocks (servconf.c: parse_server_match_config). A block ends at the next one, or at the end of its file.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CONFIG = "/etc/ssh/sshd_config"
_FOLDER = "/etc/ssh/"
_DEEPEST = 16  # servconf.c: SERVCONF_MAX_DEPTH
_LINE = re.compile(r'\s*"?([A-Za-z][A-Za-z0-9]*)"?(?:\s*=\s*|\s+)(.*)')


@dataclass(frozen=True)
class Line:
    """A setting.

    Attributes:
        path: The file.
        number: Its line, from 1.
        keyword: In lower case.
        value: As written, without the blanks around it.
        match: The criteria of the Match blocks that it is in.
    """

    path: str
    number: int
    keyword: str
    value: str
    match: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.path}:{self.number}"


def read_lines(
    read: Callable[[str], str | None],
    expand: Callable[[str], Iterable[str]],
    path: str = CONFIG,
    match: tuple[str, ...] = (),
    depth: int = 0,
) -> Iterator[Line]:
    """Yield the settings of a file and of those that it includes, in sshd's order.

    Args:
        read: Returns the text of a file, None if there is none.
        expand: Returns the sorted paths that a pattern of Include names.
        path: The file.
        match: The Match blocks that include it.
        depth: The number of files that include each other down to this one.
    """
    block: tuple[str, ...] = ()
    for number, text in enumerate((read(path) or "").splitlines(), 1):
        found = _LINE.match(text)
        if not found:
            continue
        keyword, value = found[1].lower(), found[2].strip()
        if keyword == "match":
            block = (value,)
        elif keyword == "include":
            for pattern in _words(value) if depth < _DEEPEST else ():
                for name in expand(pattern if pattern.startswith("/") else f"{_FOLDER}{pattern}"):
                    yield from read_lines(read, expand, name, (*match, *block), depth + 1)
        else:
            yield Line(path, number, keyword, value, (*match, *block))


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value, comments=True)
    except ValueError:  # sshd rejects such a line by itself
        return []


def deciding_line(lines: Iterable[Line], matches: Callable[[str], bool]) -> Line | None:
    """Return which of a keyword's lines sshd uses, None if none; `matches` tells whether a Match block applies."""
    outside = None
    for line in lines:
        if not line.match:
            outside = outside or line
        elif all(matches(criteria) for criteria in line.match):
            return line
    return outside
