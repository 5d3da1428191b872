"""The image cache: a folder for each URL, with the image and a record of what was verified."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from picluster import files
from picluster.errors import PiclusterError
from picluster.images.catalogue import file_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from picluster.console.report import Report

_CHUNK = 4 << 20
_RECORD = "record.json"


@dataclass(frozen=True)
class SlotRecord:
    """What is known of a cached image; it outlives the image, so that a later download must be the same.

    ``source`` said which SHA-256 it has to have, ``verified`` is when it last had it (ISO 8601, UTC), and size and
    mtime_ns are those of the file then; mtime_ns is 0 if it must be hashed before it is used again.
    """

    url: str
    sha256: str
    source: str
    verified: str
    size: int
    mtime_ns: int


class Slot:
    """The place of one URL in the cache.

    The folder holds all of it and nothing else. The file has the name that its publisher gave it, unless the record
    needs that; ``part`` is what is fetched of it so far.
    """

    def __init__(self, cache: Path, url: str) -> None:
        name = file_name(url)
        # Two publishers may use one name; the folder's name stays readable all the same.
        short = hashlib.sha256(url.encode()).hexdigest()[:8]
        stem = PurePosixPath(name).name.partition(".img")[0].removesuffix(".zip")
        self.folder = cache / f"{stem}-{short}"
        if name.lower() == _RECORD:  # letter case is not told apart everywhere
            name = f"image-{name}"
        self.file = self.folder / name
        self.part = self.folder / f"{name}.part"
        self.bmap = self.folder / f"{name}.bmap"
        self.record_path = self.folder / _RECORD

    def record(self) -> SlotRecord | None:
        """Return the record, None if there is no readable one."""
        return _read_record(self.record_path)

    def trusted(self) -> SlotRecord | None:
        """Return the record if the file exists and was not modified since it was verified."""
        record = self.record()
        if not record or not self.file.is_file():
            return None
        now = self.file.stat()
        return record if (now.st_size, now.st_mtime_ns) == (record.size, record.mtime_ns) else None

    def write_record(self, path: Path, url: str, sha256: str, source: str, *, good: bool = True) -> None:
        """Record that this file was verified now, or, if not good, that it must not be trusted."""
        now = path.stat()
        verified = datetime.now(UTC).isoformat(timespec="seconds") if good else ""
        record = SlotRecord(url, sha256, source, verified, now.st_size, now.st_mtime_ns if good else 0)
        files.write_atomically(self.record_path, (json.dumps(asdict(record), indent=2) + "\n").encode())

    @contextmanager
    def lock(self, report: Report) -> Iterator[None]:
        """Keep other commands away from this slot; wait for one that is at it."""
        lock = FileLock(self.folder / ".lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            report.say("note", f"note: another command is at {self.file.name}; waiting for it", text="waiting")
            lock.acquire()
        except OSError as error:
            raise PiclusterError(
                f"the cache {self.folder.parent} cannot be used ({error.strerror or error}): "
                "set PICLUSTER_CACHE to a directory that you may write to"
            ) from error
        try:
            yield
        finally:
            lock.release()


def _read_record(path: Path) -> SlotRecord | None:
    try:
        record = SlotRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return record if all(isinstance(text, str) for text in (record.url, record.sha256, record.source)) else None


def slots(cache: Path) -> list[tuple[Slot, SlotRecord]]:
    """Return all that the cache has a record of, by name."""
    found = []
    for path in sorted(cache.glob(f"*/{_RECORD}")):
        record = _read_record(path)
        # A folder that was copied or renamed is nobody's.
        if record and (slot := Slot(cache, record.url)).record_path == path:
            found.append((slot, record))
    return found


def hash_file(path: Path, report: Report) -> str:
    """Return a file's SHA-256, with a display of how far it is."""
    total = path.stat().st_size
    digest = hashlib.sha256()
    done = 0
    with report.board(path.name.removesuffix(".part")) as board, path.open("rb") as stream:
        while data := stream.read(_CHUNK):
            digest.update(data)
            done += len(data)
            board.overall(done, total, "verify")
    return digest.hexdigest()
