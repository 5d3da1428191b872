"""Quote commands for pasting into a shell: every word arrives as it is, nothing is expanded or run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Characters without a meaning to cmd.exe and PowerShell outside quotes; list2cmdline() quotes for blanks alone.
_PLAIN_ON_WINDOWS = re.compile(r"[\w@+:./\\-]*", re.ASCII)


def join(words: Sequence[str], *, windows: bool = os.name == "nt") -> str:
    """Return the words as one command line for the system's shells: POSIX shells and zsh, or those of Windows."""
    return " ".join((_windows if windows else _posix)(word) for word in words)


def _posix(word: str) -> str:
    quoted = shlex.quote(word)
    # zsh replaces =name with the path of that program; shlex supports POSIX shells only.
    return f"'{word}'" if quoted == word and word.startswith("=") else quoted


def _windows(word: str) -> str:
    quoted = subprocess.list2cmdline([word])
    if quoted.startswith('"') or _PLAIN_ON_WINDOWS.fullmatch(word):
        return quoted
    # A backslash at the end would escape the closing quote.
    backslashes = len(quoted) - len(quoted.rstrip("\\"))
    return '"' + quoted + quoted[len(quoted) - backslashes :] + '"'
