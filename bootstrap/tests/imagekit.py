"""For the tests of images: an image to serve, and a library over an empty cache."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cardkit import noise

from picluster.console.report import Report
from picluster.images import download, library
from picluster.images.library import Library

if TYPE_CHECKING:
    from collections.abc import Callable

    from webkit import Server

    from picluster.images.catalogue import Entry

DATA = noise(7, 3_000_000)


SUM = hashlib.sha256(DATA).hexdigest()


PATH = "/images/card.img.xz"


OTHER = noise(8, 2_000_000)


SHORT = noise(9, 1000)


class Desk:
    """A library, what it said, and how long it waited."""

    def __init__(self, *entries: Entry, timeout: float = 5) -> None:
        self.out = io.StringIO()
        self.waits: list[float] = []
        report = Report(as_json=True, out=self.out, err=io.StringIO())
        web = download.Web(self.waits.append, timeout)
        self.library = Library(library.image_folder(), [list(entries)], report, web)

    def events(self, kind: str) -> list[dict[str, Any]]:
        said = map(json.loads, self.out.getvalue().splitlines())
        return [event for event in said if event["event"] == kind]


def cached() -> list[str]:
    """Return the files in the cache that a user would take for an image or a piece of one."""
    found = (path.name for path in library.image_folder().rglob("*") if path.is_file())
    return sorted(name for name in found if name not in (".lock", "record.json"))


def start_get(server: Server) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "picluster", "images", "get", server.url(PATH), "--sha256", SUM]
    environment = {**os.environ, "PYTHONPATH": str(Path(library.__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to pass within 30 seconds"
        time.sleep(0.01)


def parts() -> int:
    return sum(path.stat().st_size for path in library.image_folder().rglob("*.part"))
