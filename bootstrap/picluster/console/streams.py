"""Write to standard streams that may be closed, full, a pipe without a reader, or of another encoding."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

# Errors of a write to a pipe without a reader; the second one is that of Windows.
_UNREAD = (errno.EPIPE, errno.EINVAL)


def steady() -> None:
    """Make standard output and error accept any text, because output must not end the work.

    A closed stream (``>&-``) becomes the null device, and a character that the encoding lacks becomes an escape.
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
    """A stream for writes from any thread; after a failed write nothing more is written, and nothing is raised.

    ``problem`` is why output was lost, such as a full disk. A pipe whose reader has closed it is not a problem: the
    reader has what it needs.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.problem = ""
        self._lost = False
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Write and flush the text."""
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
    """Redirect a stream and its buffer to the null device: Python would fail to write the buffer at exit."""
    # Streams of tests have no file descriptor.
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)
