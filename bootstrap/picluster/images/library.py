"""Find a card image by file, URL or name in a catalogue, and verify it before it is used."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from picluster import cache, files, shell
from picluster.cards.image import find_image
from picluster.errors import PiclusterError
from picluster.images import catalogue, download, slots
from picluster.images.catalogue import Entry, check_url, file_name
from picluster.images.slots import Slot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from picluster.console.report import Report

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SUMS_MAX = 1 << 20
# Object stores that do not let strangers list a folder say 403 of what is not in it.
_NO_SUMS = (*download.NOT_FOUND, 403)
_BMAP_MAX = 64 << 20
_PACKED = (".xz", ".gz", ".zst", ".zip", ".bz2")


@dataclass(frozen=True)
class ResolvedImage:
    """A card image on this machine.

    The checksum is None for a local file without --sha256, the generation if the catalogue does not know it.
    """

    path: Path
    sha256: str | None
    generation: str | None
    bmap: Path | None


@dataclass(frozen=True)
class Listed:
    """One line of the list of images; the entry's name is its URL if only the cache knows it."""

    entry: Entry
    path: Path | None
    size: int | None


@dataclass(frozen=True)
class Verified:
    """What came out for one cached image: ``ok``, ``differs`` or ``missing``."""

    name: str
    path: Path
    state: str


def image_folder() -> Path:
    """Return where images are cached."""
    return cache.root() / "images"


class Library:
    """All images that this machine can have; the names of the first catalogues win."""

    def __init__(
        self, folder: Path, catalogues: Sequence[Sequence[Entry]], report: Report, web: download.Web | None = None
    ) -> None:
        self._folder = folder
        self._catalogues = catalogues
        self._report = report
        self._web = web or download.Web()

    def resolve(self, image: str, sha256: str | None = None) -> ResolvedImage:
        """Find the image that the user means; fetch it into the cache if it is not there.

        A file wins over a name. A cached image was verified when it was fetched and is not hashed again as long as its
        size and time of change are the same. The image is a path (its suffix may be left out), an http(s) URL, or a
        name; the SHA-256 is of the file as it is, packed or not.
        """
        sha256 = _check_sha256(sha256)
        if "://" in image:
            return self._remote(Entry(image, image), sha256)
        try:
            # Only a shell that sees the ~ at the start of a word does it.
            path = Path(image).expanduser()
        except RuntimeError as error:
            raise PiclusterError(f"the image {image} cannot be read: there is no such user's home") from error
        try:
            found = find_image(path)
        except PiclusterError as not_found:
            entry = self._by_name(image, path, not_found)
            return self._remote(entry, sha256)
        if sha256:
            digest = slots.hash_file(found, self._report)
            if digest != sha256:
                raise PiclusterError(f"{found} has the SHA-256 {digest}, --sha256 says {sha256}: it is another file")
        return ResolvedImage(found, sha256, None, local_bmap(found))

    def get(self, image: str, sha256: str | None = None) -> ResolvedImage:
        """Fetch an image by name or URL into the cache, if it is not there; as resolve(), but never a local file."""
        return self._remote(self._wanted(image), _check_sha256(sha256))

    def listed(self) -> list[Listed]:
        """Return all that the catalogues know, then what else is in the cache."""
        rows: list[Entry] = []
        seen: set[str] = set()
        known: set[str] = set()
        for entries in self._catalogues:
            for entry in entries:
                known.add(entry.url)
                if entry.name.lower() not in seen:
                    rows.append(entry)
                seen.update(name.lower() for name in (entry.name, *entry.aliases))
        urls = (record.url for _, record in slots.slots(self._folder))
        rows += [Entry(url, url) for url in urls if url not in known]
        return [self._listed(entry) for entry in rows]

    def _listed(self, entry: Entry) -> Listed:
        slot = Slot(self._folder, entry.url)
        if slot.file.is_file() and slot.record():
            return Listed(entry, slot.file, slot.file.stat().st_size)
        return Listed(entry, None, entry.size)

    def verify(self, names: Sequence[str]) -> Iterator[Verified]:
        """Hash cached images again, all of them or those named; nothing is removed.

        One that differs is not trusted any more: the next command that needs it fetches it anew. Names are checked
        before anything is hashed.
        """
        titles = {entry.url: entry.name for entries in reversed(self._catalogues) for entry in entries}
        found = slots.slots(self._folder)
        if names:
            urls = {self._wanted(name).url: name for name in names}
            missing = [name for url, name in urls.items() if url not in {record.url for _, record in found}]
            if missing:
                command = shell.join(["picluster", "images", "get", missing[0]])
                raise PiclusterError(f"{missing[0]} is not in the cache: {command}")
            found = [(slot, record) for slot, record in found if record.url in urls]
        for slot, record in found:
            state = self._verified(slot)
            if names or state != "missing":
                yield Verified(titles.get(record.url, record.url), slot.file, state)

    def _verified(self, slot: Slot) -> str:
        with slot.lock(self._report):
            # Only now: the command that was waited for may have fetched another.
            record = slot.record()
            if not record or not slot.file.is_file():
                return "missing"
            good = slots.hash_file(slot.file, self._report) == record.sha256
            slot.write_record(slot.file, record.url, record.sha256, record.source, good=good)
            return "ok" if good else "differs"

    def _wanted(self, image: str) -> Entry:
        return Entry(image, image) if "://" in image else catalogue.find(image, self._catalogues)

    def _by_name(self, image: str, path: Path, not_found: PiclusterError) -> Entry:
        """Look for the name that no file has; if it is none either, say what fits what was typed."""
        try:
            return catalogue.find(image, self._catalogues)
        except PiclusterError:
            # First, because what cannot be looked up fails in exists(), too.
            if isinstance(not_found.__cause__, OSError) or path.exists() or path.name != image:
                raise not_found from None
            if path.suffix in (".img", *_PACKED):
                raise not_found from None
            raise

    def _remote(self, entry: Entry, sha256: str | None) -> ResolvedImage:
        if sha256 and entry.sha256 and sha256 != entry.sha256:
            raise PiclusterError(f"--sha256 says {sha256}, the catalogue says {entry.sha256} of {entry.name}")
        source = "--sha256" if sha256 else "the catalogue"
        entry = replace(entry, sha256=sha256 or entry.sha256)
        check_url(entry.url, plain=bool(entry.sha256))
        slot = Slot(self._folder, entry.url)
        with slot.lock(self._report):
            digest = self._cached(slot, entry.sha256) or self._fetch(slot, entry, source)
            bmap = self._bmap(slot, entry)
        return ResolvedImage(slot.file, digest, entry.generation or None, bmap)

    def _cached(self, slot: Slot, wanted: str | None) -> str | None:
        """Return the checksum of the cached image if it can be used."""
        record = slot.record()
        if not slot.file.is_file() or not record:
            return None
        if wanted in (None, record.sha256) and slot.trusted():
            self._report.say(
                "image-cached",
                f"{slot.file.name} is in the cache, verified {record.verified} (picluster images verify does it again)",
                path=str(slot.file),
                sha256=record.sha256,
                verified=record.verified,
            )
            return record.sha256
        digest = slots.hash_file(slot.file, self._report)
        if digest == (wanted or record.sha256):
            slot.write_record(slot.file, record.url, digest, record.source)
            return digest
        text = f"{slot.file} differs from what was verified: fetching it again"
        self._report.say("note", f"note: {text}", text=text)
        return None

    def _fetch(self, slot: Slot, entry: Entry, source: str) -> str:
        record = slot.record()
        hint = ""
        if entry.sha256:
            wanted = entry.sha256
        elif record:
            # Recorded at the first download: from then on it must stay the same.
            wanted, source = record.sha256, record.source
            hint = f" at the first download (remove {slot.record_path} if the change is meant)"
        else:
            wanted, source = self._published(entry.url)
        with self._report.board(slot.file.name) as board:
            wish = download.Wanted(entry.url, slot.part, plain=bool(entry.sha256), size=entry.size)
            self._web.download(wish, lambda done, total: board.overall(done, total, "download"))
        digest = slots.hash_file(slot.part, self._report)
        if digest != wanted:
            download.drop(slot.part)
            raise PiclusterError(
                f"the file from {entry.url} has the SHA-256 {digest}, not {wanted} as {source} said{hint}: "
                "it was changed in transit or by its publisher, or damaged here; it was deleted, "
                "run the same command again"
            )
        # The record first: a name without one would be an unverified file.
        slot.write_record(slot.part, entry.url, digest, source)
        slot.part.replace(slot.file)
        download.drop(slot.part)
        self._report.say(
            "image-fetched",
            f"fetched {slot.file}, its SHA-256 is what {source} said",
            path=str(slot.file),
            url=entry.url,
            sha256=digest,
            source=source,
        )
        return digest

    def _published(self, url: str) -> tuple[str, str]:
        """Read the publisher's checksum beside the image: URL.sha256, or SHA256SUMS in the same folder."""
        parts = urlsplit(url)
        folder, _, name = parts.path.rpartition("/")
        places = [
            urlunsplit(parts._replace(path=path, query="", fragment=""))
            for path in (f"{parts.path}.sha256", f"{folder}/SHA256SUMS")
        ]
        for place in places:
            data = self._web.small(place, _SUMS_MAX, _NO_SUMS)
            text = data.decode("utf-8", "replace") if data is not None else ""
            # Only what is there for this image alone need not name it.
            digest = _pick(text, {name, file_name(url)}, nameless=place == places[0])
            if digest:
                return digest, place
        raise PiclusterError(
            f"the publisher has no checksum of {url} beside it ({' or '.join(map(file_name, places))}): give --sha256"
        )

    def _bmap(self, slot: Slot, entry: Entry) -> Path | None:
        if not entry.bmap:
            return None
        if not slot.bmap.is_file():
            try:
                data = self._web.small(entry.bmap, _BMAP_MAX)
            except PiclusterError as error:
                # It only saves time: a burn without it is right, too.
                self._report.say("note", f"note: without a block map: {error}", text=str(error))
                return None
            if data is None:
                return None
            files.write_atomically(slot.bmap, data)
        return slot.bmap


def local_bmap(image: Path) -> Path | None:
    """Return the block map beside an image file: NAME.bmap, or, of a packed or plain image, without its suffixes."""
    names = [image.name]
    while names[-1].endswith((".img", *_PACKED)):
        names.append(names[-1].rpartition(".")[0])
    return next((path for name in names if (path := image.with_name(f"{name}.bmap")).is_file()), None)


def _check_sha256(text: str | None) -> str | None:
    if text is not None and not _SHA256.fullmatch(text):
        raise PiclusterError(f"--sha256 {text[:80]!r} is not a SHA-256: 64 hexadecimal digits")
    return text and text.lower()


def _pick(text: str, names: set[str], *, nameless: bool) -> str | None:
    """Return the checksum of one of these names from a checksum file as sha256sum writes it.

    No pattern is matched against the text, because a server may make that slow. ``nameless``: one without a name will
    do.
    """
    for line in text.splitlines():
        digest, *name = line.strip().split(None, 1) or [""]
        digest = digest.removeprefix("\\")  # marks a name with escapes in it
        fits = name[0].removeprefix("*").rpartition("/")[2] in names if name else nameless
        if fits and _SHA256.fullmatch(digest):
            return digest.lower()
    return None
