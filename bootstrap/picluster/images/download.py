"""Download files over https, or over http if a checksum is known; resume where the server supports it."""

from __future__ import annotations

import errno
import json
import re
import shutil
import ssl
import time
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, TYPE_CHECKING, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from picluster import files
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

CHUNK = 1 << 20
# Between tries that got nothing new; one that got more starts from the first again.
_WAITS = (1.0, 2.0, 4.0, 8.0)
_TIMEOUT_S = 30.0
NOT_FOUND = (404, 410)
_SERVER_ERROR = 500
_PARTIAL = 206
_BAD_RANGE = 416


class _Cut(Exception):  # noqa: N818 - not an error yet: it is tried again
    """The connection ended too early, or the server had a passing trouble."""


class _Busy(_Cut):
    """The server answered that it has a trouble."""


class _Stale(Exception):  # noqa: N818 - likewise
    """The partial file does not belong to the server's current version."""


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, but not from https to http, where the file could be modified in transit."""

    def __init__(self, *, plain: bool) -> None:
        self._schemes = ("https", "http") if plain else ("https",)

    def redirect_request(  # noqa: PLR0913, PLR0917 - urllib's signature
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Allow or refuse one redirect."""
        if urlsplit(newurl).scheme not in self._schemes:
            raise PiclusterError(
                f"{req.full_url} redirects to {newurl}, which is not https and can be modified in transit: "
                "give the SHA-256 of the image, or another address"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(frozen=True)
class Wanted:
    """A file to download.

    Beside the part is a small file that says what it belongs to; both stay when this is interrupted. With ``plain``
    http will do, because a checksum is known.
    """

    url: str
    part: Path
    plain: bool
    size: int | None = None


@dataclass(frozen=True)
class _State:
    """What a part belongs to, kept beside it.

    The validator is what the server calls this version: a strong ETag, else the date; empty if it says neither.
    """

    url: str
    validator: str
    total: int | None


class Web:
    """Reads files from servers. Proxies are taken from the environment, certificates from the system (urllib)."""

    def __init__(self, wait: Callable[[float], None] = time.sleep, timeout: float = _TIMEOUT_S) -> None:
        self._wait = wait
        self._timeout = timeout

    def small(self, url: str, limit: int, none: Collection[int] = NOT_FOUND) -> bytes | None:
        """Read a small file, of at most ``limit`` bytes, over https; None if the server answers one of ``none``."""
        waits = iter(_WAITS)
        while True:
            try:
                return self._small(url, limit, none)
            except _Busy as error:
                wait = next(waits, None)
                if wait is None:
                    raise PiclusterError(f"{url} cannot be read: {error}: run the same command again") from error
                self._wait(wait)

    def _small(self, url: str, limit: int, none: Collection[int]) -> bytes | None:
        try:
            with self.open(url, {}, plain=False) as answer:
                data = answer.read(limit + 1)
        except HTTPError as error:
            if error.code in none:
                return None
            raise _refused(url, error) from error
        except _Busy:
            raise
        except (OSError, HTTPException, _Cut) as error:
            raise PiclusterError(f"{url} cannot be read: {_reason(error)}") from error
        if len(data) > limit:
            raise PiclusterError(f"{url} is larger than {limit} bytes: it cannot be what its name says")
        return data

    def download(self, wanted: Wanted, show: Callable[[int, int | None], None]) -> None:
        """Fetch a file, resuming an earlier try; ``show`` is told bytes so far and in all, None if unknown."""
        one = _Download(self, wanted, show)
        best = tries = 0
        while not one.complete:
            try:
                one.go_on()
            except _Cut as error:
                have = _length(wanted.part)
                tries = 0 if have > best else tries + 1
                best = max(best, have)
                # A server that was never heard is not waited for: the user can see to it at once.
                if not one.heard or tries > len(_WAITS):
                    again = f", it goes on after {have} bytes" if have else ""
                    raise PiclusterError(
                        f"{wanted.url} could not be fetched ({error}): run the same command again{again}"
                    ) from error
                self._wait(_WAITS[max(0, tries - 1)])

    def open(self, url: str, headers: Mapping[str, str], *, plain: bool) -> HTTPResponse:
        """Request a file; raise HTTPError if the server refuses it, _Cut if the fault may be temporary.

        PiclusterError if neither will pass: another server, an address that is none.
        """
        # "identity": what is packed on the way would have neither the length nor the checksum of the file.
        request = Request(url, headers={"User-Agent": "picluster", "Accept-Encoding": "identity", **headers})  # noqa: S310 - the scheme is checked by catalogue.check_url
        try:
            return cast("HTTPResponse", build_opener(_Redirects(plain=plain)).open(request, timeout=self._timeout))
        except HTTPError as error:
            if error.code >= _SERVER_ERROR:
                raise _Busy(f"the server said {error.code} {_reason(error)}") from error
            raise
        except URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise PiclusterError(
                    f"the server of {url} cannot be authenticated ({error.reason.verify_message}): "
                    "check the clock and the certificates of this machine"
                ) from error
            raise _Cut(_reason(error)) from error
        except (OSError, HTTPException) as error:
            raise _Cut(_reason(error)) from error
        except ValueError as error:  # urllib's and the idna codec's word for it, from a redirect for one
            raise PiclusterError(
                f"{url} cannot be fetched: it, its redirect or the proxy is not a valid address "
                f"({_reason(error)}): give another"
            ) from error


class _Download:
    """One file on its way; ``heard`` says that the server sent any of it to this process."""

    def __init__(self, web: Web, wanted: Wanted, show: Callable[[int, int | None], None]) -> None:
        self._web = web
        self._url = wanted.url
        self._part = wanted.part
        self._plain = wanted.plain
        self._size = wanted.size
        self._show = show
        self.complete = False
        self.heard = False

    def go_on(self) -> None:
        """Request the missing bytes, or all if the server has another version or does not support ranges."""
        state = _read_state(self._part, self._url)
        have = _length(self._part) if state else 0
        try:
            if state and have:
                if have != state.total:
                    self._rest(state, have)
            else:
                self._all()
        except _Stale:
            drop(self._part)
            self._all()
        self.complete = True

    def _all(self) -> None:
        try:
            with self._web.open(self._url, {}, plain=self._plain) as answer:
                self._from_start(answer)
        except HTTPError as error:
            raise _refused(self._url, error) from error

    def _rest(self, state: _State, have: int) -> None:
        headers = {"Range": f"bytes={have}-", "If-Range": state.validator}
        try:
            with self._web.open(self._url, headers, plain=self._plain) as answer:
                if answer.status != _PARTIAL:
                    self._from_start(answer)
                    return
                if _content_range(answer) != (have, state.total):
                    raise _Stale
                _check_room(self._part, have, state.total)
                self._copy(answer, have, state.total)
        except HTTPError as error:
            raise _Stale if error.code == _BAD_RANGE else _refused(self._url, error) from error

    def _from_start(self, answer: HTTPResponse) -> None:
        total = answer.length if answer.length is not None else self._size
        if self._size is not None and total != self._size:
            raise PiclusterError(f"{self._url} has {total} bytes, its catalogue says {self._size}: it is another file")
        drop(self._part)
        _check_room(self._part, 0, total)
        # First the empty part, then what it belongs to: a kill in between cannot mix two files.
        self._part.write_bytes(b"")
        state = _State(self._url, _validator(answer), total)
        files.write_atomically(_state_path(self._part), json.dumps(asdict(state)).encode())
        self._copy(answer, 0, total)

    def _copy(self, answer: HTTPResponse, have: int, total: int | None) -> None:
        try:
            with self._part.open("ab") as stream:
                while data := _read(answer):
                    stream.write(data)
                    self.heard = True
                    have += len(data)
                    self._show(have, total)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _no_room(self._part, None) from error
            raise PiclusterError(f"{self._part} cannot be written: {error.strerror or error}") from error
        if total is not None and have != total:
            raise _Cut(f"the connection was cut after {have} of {total} bytes")


def drop(part: Path) -> None:
    """Forget a part and what it belongs to."""
    part.unlink(missing_ok=True)
    _state_path(part).unlink(missing_ok=True)


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _state_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_state(part: Path, url: str) -> _State | None:
    """Return what the part belongs to, None if it cannot be gone on with."""
    try:
        state = _State(**json.loads(_state_path(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return state if state.url == url and state.validator else None


def _read(answer: HTTPResponse) -> bytes:
    try:
        return answer.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise _Cut(_reason(error)) from error


def _validator(answer: HTTPResponse) -> str:
    etag = answer.headers.get("ETag", "")
    # A weak ETag says "as good as", not "the same bytes" (RFC 9110, 13.1.5).
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")


def _content_range(answer: HTTPResponse) -> tuple[int, int | None] | None:
    match = re.fullmatch(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19})", answer.headers.get("Content-Range", ""))
    return (int(match[1]), int(match[2])) if match else None


def _check_room(part: Path, have: int, total: int | None) -> None:
    if total is not None and shutil.disk_usage(part.parent).free < total - have:
        raise _no_room(part, total - have)


def _no_room(part: Path, need: int | None) -> PiclusterError:
    amount = f"{need} more bytes" if need else "more room"
    return PiclusterError(
        f"the disk of {part.parent} is full: the image needs {amount}; make room, or set PICLUSTER_CACHE to another"
        " directory"
    )


def _refused(url: str, error: HTTPError) -> PiclusterError:
    what = {404: "is not there", 410: "is gone", 401: "requires a login", 403: "is refused"}.get(
        error.code, "is refused"
    )
    return PiclusterError(f"{url} {what} (the server said {error.code} {_reason(error)}); check the address")


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _reason(reason)
    if isinstance(error, TimeoutError):
        return "the server is silent"
    text = getattr(error, "strerror", None) or reason or str(error)
    return " ".join(str(text).split()) or type(error).__name__
