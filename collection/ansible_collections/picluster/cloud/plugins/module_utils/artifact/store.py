# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Where artifacts come from: the site's folder, the cache, the publisher; and the lock that pins what was seen."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http
import http.client
import os
import re
import tempfile
import urllib.error
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from ansible.module_utils.urls import ConnectionError as UrlConnectionError
from ansible.module_utils.urls import SSLValidationError, open_url

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.digest import (
    CHUNK,
    ArtifactError,
    Checksum,
    Memo,
    parse_checksum,
    parse_checksum_file,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK_HEADER = """\
# What picluster saw when it first fetched each artifact: <name>/<version>/<architecture>: sha256:<hex>
# Every later fetch and every node must match. To accept another file, delete its line and run again.
"""
_LOCK_LINE = re.compile(r"^([^\s:]+/[^\s:]+/[^\s:]+): sha256:([0-9a-f]{64})$")
_CHECKSUM_FILE_LIMIT = 1 << 20


class NotToBeHad(Exception):  # noqa: N818 - it is a finding, not always an error: an optional artifact may be missing
    """The artifact can be had neither here nor from its publisher; the text says why."""


class NotThere(NotToBeHad):
    """The publisher answers, and has no such file (any more)."""


class Response(Protocol):
    """What of a response is used."""

    def read(self, size: int) -> bytes:
        """Read up to so many bytes."""

    def geturl(self) -> str:
        """Return the address after all redirects."""

    def close(self) -> None:
        """Give the connection back."""


Opener = "Callable[[str, str, int], Response]"


def open_over_network(url: str, method: str, timeout: int) -> Response:
    """Open an address; certificates are checked.

    Raises:
        NotToBeHad: When nobody answers, or the answer is no.
    """
    try:
        response: Response = open_url(url, method=method, timeout=timeout, http_agent="picluster")
    except urllib.error.HTTPError as error:
        kind = NotThere if error.code in {http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE} else NotToBeHad
        raise kind(f"{url} answered HTTP {error.code}") from error
    except (OSError, http.client.HTTPException, UrlConnectionError, SSLValidationError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise NotToBeHad(f"{urlsplit(url).hostname or url} could not be reached ({reason})") from error
    return response


@dataclass(frozen=True)
class Wanted:
    """One artifact for one architecture."""

    name: str
    version: str
    arch: str
    file: str
    url: str = ""
    checksum: Checksum | None = None
    checksum_url: str = ""
    # Where the publisher moves what is no longer current.
    fallback_url: str = ""
    fallback_checksum_url: str = ""

    @property
    def key(self) -> str:
        """Its name in the lock."""
        return f"{self.name}/{self.version}/{self.arch}"

    def __str__(self) -> str:
        return f"{self.name} {self.version} for {self.arch}"


def read_wanted(name: str, version: str, files: dict[str, Any]) -> list[Wanted]:
    """Read the `files` option: architecture -> file, url, checksum, checksum_url, and the fallback of both addresses.

    Raises:
        ArtifactError: With the key that is wrong and what would be right.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9.+_~-]*", version
    ):
        raise ArtifactError(f"name '{name}' and version '{version}' must be made of letters, digits and .+_~-")
    allowed = {"file", "url", "checksum", "checksum_url", "fallback_url", "fallback_checksum_url"}
    wanted = []
    for arch, entry in sorted(files.items()):
        if not isinstance(entry, dict) or set(entry) - allowed or not all(isinstance(v, str) for v in entry.values()):
            raise ArtifactError(
                f"files.{arch} must be a dictionary of texts with the keys {', '.join(sorted(allowed))}"
            )
        file = entry.get("file", "")
        if not file or "/" in file or file.startswith("."):
            raise ArtifactError(f"files.{arch}.file is '{file}'; wanted is the plain name of the released file")
        for key in ("checksum_url", "fallback_checksum_url"):
            if entry.get(key) and urlsplit(entry[key]).scheme != "https":
                raise ArtifactError(f"files.{arch}.{key} is '{entry[key]}'; only https can vouch for a checksum")
        checksum = parse_checksum(entry["checksum"]) if entry.get("checksum") else None
        addresses = {key: entry[key] for key in entry if key.endswith("url")}
        wanted.append(Wanted(name, version, arch, file, checksum=checksum, **addresses))
    return wanted


def parse_lock(text: str, path: Path) -> dict[str, str]:
    """Read a lock file: key -> sha256.

    Raises:
        ArtifactError: When a line is not as this program writes it.
    """
    entries = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LOCK_LINE.match(line.rstrip())
        if not match:
            raise ArtifactError(
                f"{path} line {number} is not '<name>/<version>/<architecture>: sha256:<64 hex digits>'"
            )
        entries[match[1]] = match[2]
    return entries


def render_lock(entries: dict[str, str]) -> str:
    """Write a lock file's text: sorted, so that its history reads well."""
    return LOCK_HEADER + "".join(f"{key}: sha256:{value}\n" for key, value in sorted(entries.items()))


def read_lock(path: Path) -> str:
    """Return the lock's text, empty if there is none yet."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold a directory against other runs on this machine; the lock dies with the process, so none is ever stale."""
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@dataclass
class Store:
    """Finds, fetches and verifies artifacts on the controller."""

    folder: Path | None
    cache: Path
    lock: dict[str, str]
    lock_path: Path
    timeout: int = 15
    check_mode: bool = False
    opener: Callable[[str, str, int], Response] = open_over_network
    fetched: list[str] = field(default_factory=list)
    _silent: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a folder that is not there: a slip must not turn into a download."""
        if self.folder and not self.folder.is_dir():
            raise ArtifactError(
                f"the artifacts folder {self.folder} does not exist; correct PICLUSTER_ARTIFACTS, or unset it"
            )
        self._memo = Memo(self.cache / "digests.json", read_only=self.check_mode)

    def get(self, wanted: Wanted) -> dict[str, str]:
        """Bring one artifact to this machine, verified, and pin it.

        Raises:
            ArtifactError: When what is here or was fetched is not what it must be.
            NotToBeHad: When it is nowhere.
        """
        path = self._in_folder(wanted) or self._in_cache(wanted)
        if path is None and self.check_mode:
            return {"path": str(self._cached(wanted)), "sha256": self._foresee(wanted), "version": wanted.version}
        if path is None:
            path = self._fetch(wanted)
        sha256 = self._memo.digest(path)
        self._verify(wanted, path, sha256)
        self.lock[wanted.key] = sha256
        return {"path": str(path), "sha256": sha256, "version": wanted.version}

    def _in_folder(self, wanted: Wanted) -> Path | None:
        if self.folder is None:
            return None
        # The folder that names the version first: the other may hold any.
        for place in (self.folder / f"{wanted.name}-{wanted.version}", self.folder):
            if (place / wanted.file).is_file():
                return (place / wanted.file).resolve()
        return None

    def _cached(self, wanted: Wanted) -> Path:
        return self.cache / wanted.name / wanted.version / wanted.arch / wanted.file

    def _in_cache(self, wanted: Wanted) -> Path | None:
        path = self._cached(wanted)
        try:
            vouched = parse_checksum_file(_note(path).read_text(encoding="utf-8"), path.name)
            # A file that rotted, or that something else put there, is fetched again.
            return path if self._memo.digest(path) == vouched.value else None
        except (OSError, ArtifactError):
            return None

    def _verify(self, wanted: Wanted, path: Path, sha256: str) -> None:
        if wanted.checksum:
            found = self._memo.digest(path, wanted.checksum.algorithm)
            if found != wanted.checksum.value:
                raise ArtifactError(_mismatch(wanted, str(path), wanted.checksum, found, "the settings"))
            return
        locked = self.lock.get(wanted.key)
        if locked and locked != sha256:
            raise ArtifactError(_mismatch(wanted, str(path), Checksum("sha256", locked), sha256, str(self.lock_path)))

    def _expected(self, wanted: Wanted) -> tuple[Checksum, str]:
        """Say which checksum a download must have, and who says so."""
        if wanted.checksum:
            return wanted.checksum, "the settings"
        if wanted.key in self.lock:
            return Checksum("sha256", self.lock[wanted.key]), str(self.lock_path)
        if not wanted.checksum_url:
            raise ArtifactError(
                f"nobody vouches for {wanted}: give a checksum or checksum_url, or put it into the artifacts folder"
            )
        response, url = self._open_either(wanted.checksum_url, wanted.fallback_checksum_url, "GET")
        try:
            if urlsplit(response.geturl()).scheme != "https":
                raise ArtifactError(f"{url} was redirected to {response.geturl()}; only https can vouch for a checksum")
            text = _read(response, _CHECKSUM_FILE_LIMIT, url).decode("utf-8", "replace")
        finally:
            response.close()
        try:
            return parse_checksum_file(text, wanted.file), url
        except ArtifactError as error:
            raise ArtifactError(f"{url}: {error}") from error

    def _foresee(self, wanted: Wanted) -> str:
        """Ask whether a real run would find the artifact, without fetching it; return its sha256 if known."""
        if not wanted.url:
            raise NotToBeHad(self._nowhere(wanted))
        expected, _by = self._expected(wanted)
        self._open_either(wanted.url, wanted.fallback_url, "HEAD")[0].close()
        return self.lock.get(wanted.key) or (expected.value if expected.algorithm == "sha256" else "")

    def _nowhere(self, wanted: Wanted) -> str:
        return f"{wanted.file} is not in {self.folder or 'an artifacts folder'} and has no address"

    def _fetch(self, wanted: Wanted) -> Path:
        if not wanted.url:
            raise NotToBeHad(self._nowhere(wanted))
        path = self._cached(wanted)
        with exclusive(path.parent):
            present = self._in_cache(wanted)  # another run may have brought it while this one waited
            if present:
                return present
            expected, by = self._expected(wanted)
            for remains in path.parent.glob(f".{path.name}.part-*"):
                remains.unlink()  # of a run that was killed: we hold the directory, so nobody writes it
            self._download(wanted, path, expected, by)
        self.fetched.append(wanted.arch)
        return path

    def _download(self, wanted: Wanted, path: Path, expected: Checksum, by: str) -> None:
        hashes = {name: hashlib.new(name) for name in {"sha256", expected.algorithm}}
        response, url = self._open_either(wanted.url, wanted.fallback_url, "GET")
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.part-", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                while block := _block(response, CHUNK, url):
                    stream.write(block)
                    for one in hashes.values():
                        one.update(block)
                stream.flush()
                os.fsync(stream.fileno())
            found = hashes[expected.algorithm].hexdigest()
            if found != expected.value:
                raise ArtifactError(_mismatch(wanted, url, expected, found, by))
            temporary.chmod(0o644)
            temporary.replace(path)
            write_atomically(_note(path), f"{hashes['sha256'].hexdigest()}  {path.name}\n")
        finally:
            response.close()
            temporary.unlink(missing_ok=True)

    def _open_either(self, url: str, fallback: str, method: str) -> tuple[Response, str]:
        """Open an address, or the second one if the first has no such file. Return the answer and who gave it."""
        try:
            return self._open(url, method), url
        except NotThere as first:
            if not fallback or fallback == url:
                raise
            try:
                return self._open(fallback, method), fallback
            except NotToBeHad as second:
                raise NotToBeHad(f"{first}, and {second}") from second

    def _open(self, url: str, method: str) -> Response:
        host = urlsplit(url).netloc
        if host in self._silent:  # waiting once for a publisher that does not answer is enough
            raise NotToBeHad(self._silent[host])
        try:
            return self.opener(url, method, self.timeout)
        except NotToBeHad as error:
            if "could not be reached" in str(error):
                self._silent[host] = str(error)
            raise


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _block(response: Response, size: int, url: str) -> bytes:
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise NotToBeHad(f"{urlsplit(url).hostname or url} broke off in the middle ({error})") from error


def _read(response: Response, limit: int, url: str) -> bytes:
    data = b""
    while len(data) < limit and (block := _block(response, limit - len(data), url)):
        data += block
    return data


def _mismatch(wanted: Wanted, where: str, expected: Checksum, found: str, by: str) -> str:
    cure = (
        "correct the checksum or fetch the right file"
        if by == "the settings"
        else f"delete the line {wanted.key} there if the new file is the right one"
        if not by.startswith("https:")
        else "do not use the file; try again later or take it from another mirror"
    )
    return f"{wanted}: {where} has {expected.algorithm} {found}, but {by} says {expected.value}; {cure}"
