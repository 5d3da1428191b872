# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Where artifacts come from: the site's folder, the cache, the publisher; and the lock, which pins what was seen."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import urllib.error
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ansible.module_utils.urls import ConnectionError as UrlConnectionError
from ansible.module_utils.urls import SSLValidationError, open_url

from ansible_collections.picluster.cloud.plugins.module_utils.artifact.rules import (
    Artifact,
    parse_checksum_file,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.digest import CHUNK, Memo
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import (
    atomic_stream,
    locked,
    read_text,
    write_atomically,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.forms import Checksum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from http.client import HTTPResponse
    from pathlib import Path

LOCK_HEADER = """\
# What picluster saw when it first fetched each artifact: <name>/<version>/<architecture>: sha256:<hex>
# Every later fetch and every node must match. To accept another file, delete its line and run again.
"""
_LOCK_LINE = re.compile(r"^([^\s:]+/[^\s:]+/[^\s:]+): sha256:([0-9a-f]{64})$")
_CHECKSUM_FILE_LIMIT = 1 << 20
_SETTINGS = "the setting checksum"


class Unavailable(UserError):  # noqa: N818 - a finding, not always an error: an optional artifact may be missing
    """The artifact is neither here nor at its publisher; the text says why."""


class NotFound(Unavailable):
    """The publisher answers, and has no such file (any more)."""


class Unreachable(Unavailable):
    """The publisher does not answer."""


def open_over_network(url: str, method: str, timeout: int) -> HTTPResponse:
    """Open an address with verified certificates; raise Unavailable if the server does not answer or refuses."""
    try:
        response: HTTPResponse = open_url(url, method=method, timeout=timeout, http_agent="picluster")
    except urllib.error.HTTPError as error:
        kind = NotFound if error.code in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE} else Unavailable
        raise kind(f"{url} answered HTTP {error.code}") from error
    except (OSError, http.client.HTTPException, UrlConnectionError, SSLValidationError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise Unreachable(f"{urlsplit(url).hostname or url} could not be reached ({reason})") from error
    return response


@dataclass
class Store:
    """Finds, fetches and verifies artifacts on the controller.

    Attributes:
        folder: The site's folder of artifacts, None for none.
        lock: The pinned checksums, by key; those of this run are added.
        lock_path: The lock's file, for messages.
        timeout: Seconds without an answer until a publisher counts as unreachable.
        fetched: The paths of what was downloaded.
    """

    folder: Path | None
    cache: Path
    lock: dict[str, str]
    lock_path: Path
    timeout: int = 15
    check_mode: bool = False
    opener: Callable[[str, str, int], HTTPResponse] = open_over_network
    fetched: list[str] = field(default_factory=list)
    _silent: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a folder that does not exist: a typo must not turn into a download."""
        if self.folder and not self.folder.is_dir():
            raise UserError(
                f"the artifacts folder does not exist: {self.folder}; correct PICLUSTER_ARTIFACTS, or unset it"
            )
        self._memo = Memo(self.cache / "digests.json", read_only=self.check_mode)

    def get(self, artifact: Artifact) -> dict[str, str]:
        """Fetch one artifact, verified, and pin it; return its path, sha256 and version.

        Raises:
            UserError: It has a wrong checksum; Unavailable if there is no such file.
        """
        path = self._in_folder(artifact) or self._in_cache(artifact)
        if path is None:
            if not artifact.url:
                raise Unavailable(f"{artifact.file} is not in {self.folder or 'an artifacts folder'} and has no url")
            path = self._cached(artifact)
            if self.check_mode:
                return {"path": str(path), "sha256": self._predict(artifact), "version": artifact.version}
            self._fetch(artifact, path)
        pinned = self._pinned(artifact)
        if pinned:
            found = self._memo.digest(path, pinned[0].algorithm)
            _refuse_other(artifact, str(path), found, *pinned)
        sha256 = self._memo.digest(path)
        self.lock[artifact.key] = sha256
        return {"path": str(path), "sha256": sha256, "version": artifact.version}

    def _in_folder(self, artifact: Artifact) -> Path | None:
        if self.folder is None:
            return None
        # The folder that names the version first: the other may hold any.
        for place in (self.folder / f"{artifact.name}-{artifact.version}", self.folder):
            if (place / artifact.file).is_file():
                return (place / artifact.file).resolve()
        return None

    def _cached(self, artifact: Artifact) -> Path:
        return self.cache / artifact.name / artifact.version / artifact.arch / artifact.file

    def _in_cache(self, artifact: Artifact) -> Path | None:
        path = self._cached(artifact)
        try:
            recorded = parse_checksum_file(read_text(str(_checksum_path(path))) or "", path.name)
            # A file that was damaged or replaced is fetched again.
            return path if self._memo.digest(path) == recorded.value else None
        except (OSError, UserError):
            return None

    def _pinned(self, artifact: Artifact) -> tuple[Checksum, str] | None:
        """Return the checksum in settings or lock, and which of them; None if there is none."""
        if artifact.checksum:
            return artifact.checksum, _SETTINGS
        locked = self.lock.get(artifact.key)
        return (Checksum("sha256", locked), str(self.lock_path)) if locked else None

    def _expected(self, artifact: Artifact) -> tuple[Checksum, str]:
        """Return the checksum that a download must have, and where that comes from."""
        pinned = self._pinned(artifact)
        if pinned:
            return pinned
        if not artifact.checksum_url:
            raise UserError(
                f"no checksum is known for {artifact}: files.{artifact.arch} has neither checksum nor checksum_url; "
                "add one, or put the file into the artifacts folder"
            )
        response, url = self._open_either(artifact.checksum_url, artifact.fallback_checksum_url, "GET")
        with contextlib.closing(response):
            if urlsplit(response.geturl()).scheme != "https":
                raise UserError(
                    f"{url} was redirected to an address that is not https: {response.geturl()}; only https protects a "
                    "checksum"
                )
            text = _block(response, _CHECKSUM_FILE_LIMIT, url).decode("utf-8", "replace")
        try:
            return parse_checksum_file(text, artifact.file), url
        except UserError as error:
            raise UserError(f"{url}: {error}") from error

    def _predict(self, artifact: Artifact) -> str:
        """Query whether a real run would find the artifact, without fetching it; return its sha256 if known."""
        expected, _source = self._expected(artifact)
        self._open_either(artifact.url, artifact.fallback_url, "HEAD")[0].close()
        return self.lock.get(artifact.key) or (expected.value if expected.algorithm == "sha256" else "")

    def _fetch(self, artifact: Artifact, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent):
            if self._in_cache(artifact):  # another run may have fetched it while this one waited
                return
            expected, source = self._expected(artifact)
            for remains in path.parent.glob(f".{path.name}.*"):
                remains.unlink()  # of a run that was killed: the directory is locked, so no other run writes it
            self._download(artifact, path, expected, source)
        self.fetched.append(str(path))

    def _download(self, artifact: Artifact, path: Path, expected: Checksum, source: str) -> None:
        hashes = {name: hashlib.new(name) for name in {"sha256", expected.algorithm}}
        response, url = self._open_either(artifact.url, artifact.fallback_url, "GET")
        with contextlib.closing(response), atomic_stream(path) as stream:
            while block := _block(response, CHUNK, url):
                stream.write(block)
                for one in hashes.values():
                    one.update(block)
            _refuse_other(artifact, url, hashes[expected.algorithm].hexdigest(), expected, source)
        write_atomically(_checksum_path(path), f"{hashes['sha256'].hexdigest()}  {path.name}\n")

    def _open_either(self, url: str, fallback: str, method: str) -> tuple[HTTPResponse, str]:
        """Open an address, or the fallback if the first has no such file; return the response and its address."""
        try:
            return self._open(url, method), url
        except NotFound as first:
            if not fallback or fallback == url:
                raise
            try:
                return self._open(fallback, method), fallback
            except Unavailable as second:
                raise Unavailable(f"{first}, and {second}") from second

    def _open(self, url: str, method: str) -> HTTPResponse:
        host = urlsplit(url).netloc
        if host in self._silent:  # waiting once for a publisher that does not answer is enough
            raise Unreachable(self._silent[host])
        try:
            return self.opener(url, method, self.timeout)
        except Unreachable as error:
            self._silent[host] = str(error)
            raise


def _checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _block(response: HTTPResponse, size: int, url: str) -> bytes:
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{urlsplit(url).hostname or url} closed the connection early ({error})") from error


def _refuse_other(artifact: Artifact, where: str, found: str, expected: Checksum, source: str) -> None:
    if found == expected.value:
        return
    remedy = (
        "correct the checksum or provide the right file"
        if source == _SETTINGS
        else f"delete the line {artifact.key} there if the new file is the right one"
        if not source.startswith("https:")
        else "do not use the file; try again later or fetch it from another mirror"
    )
    raise UserError(
        f"{artifact} has a wrong checksum: {where} has {expected.algorithm} {found}, but {source} requires "
        f"{expected.value}; {remedy}"
    )


def collect(
    store: Store, artifacts: Iterable[Artifact], *, optional: bool
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Get each artifact; return by architecture what is available, and why the rest (of an optional one) is not."""
    available, missing = {}, {}
    for artifact in artifacts:
        try:
            available[artifact.arch] = store.get(artifact)
        except Unavailable as reason:
            if not optional:
                raise UserError(
                    f"{artifact} is not available: {reason}; connect the controller to the internet, or put "
                    f"{artifact.file} into a folder and set PICLUSTER_ARTIFACTS to it"
                ) from reason
            missing[artifact.arch] = str(reason)
    return available, missing


def parse_lock(text: str, path: Path) -> dict[str, str]:
    """Parse a lock: key -> sha256; raise UserError for a line that render_lock does not write."""
    entries = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LOCK_LINE.match(line.rstrip())
        if not match:
            raise UserError(
                f"{path} line {number} is invalid: '{line}'; expected '<name>/<version>/<architecture>: sha256:<64 hex "
                "digits>'; correct or delete the line"
            )
        entries[match[1]] = match[2]
    return entries


def render_lock(entries: dict[str, str]) -> str:
    """Return a lock's text, sorted so that its history reads well."""
    return LOCK_HEADER + "".join(f"{key}: sha256:{value}\n" for key, value in sorted(entries.items()))


def pin(path: Path, entries: dict[str, str], *, check_mode: bool) -> tuple[str, str]:
    """Add entries to the lock, keeping what another run wrote meanwhile; return its text before and after."""
    if not check_mode:
        path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext() if check_mode else locked(path.parent):
        before = read_text(str(path)) or ""
        known = parse_lock(before, path)
        if entries.items() <= known.items():
            return before, before
        after = render_lock(known | entries)
        if not check_mode:
            write_atomically(path, after)
        return before, after
