"""The standard streams as they really are: closed, full, a pipe that nobody reads any more, or of another encoding."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

# What a write to a pipe without a reader ends with; the second one is Windows'.
_UNREAD = (errno.EPIPE, errno.EINVAL)


def steady() -> None:
    """Make standard output and error take whatever is written: the work is worth more than the words about it.

    A closed stream (``>&-``) becomes the null device, and a letter that its encoding lacks becomes an escape.
    """
    sys.stdout = _steady(sys.stdout)
    sys.stderr = _steady(sys.stderr)


def _steady(stream: TextIO | None) -> TextIO:
    # Python's None for a closed stream is not in the type of sys.stdout.
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")
    return stream


class Outlet:
    """A stream that is written to from any thread; once it is lost, nothing more is written and nothing raised.

    Attributes:
        stream: It.
        problem: Why words were lost that somebody wanted, such as a full disk; empty if none were. A pipe whose reader
            has gone is none: it has read what it wanted.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.problem = ""
        self._lost = False
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Write and flush it."""
        with self._lock:
            if self._lost:
                return
            try:
                self.stream.write(text)
                self.stream.flush()
            except OSError as error:
                self._lost = True
                self.problem = "" if error.errno in _UNREAD else error.strerror or str(error)
                silence(self.stream)


def silence(stream: TextIO) -> None:
    """Lead a stream into the null device, with what it still holds: Python would fail to write that at its end."""
    # Streams of tests have no file descriptor.
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)
