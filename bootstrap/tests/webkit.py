"""For the tests: a real server of files on the loopback, whose answers can be made bad in the ways that servers are."""

from __future__ import annotations

import re
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Served:
    """One file of the server.

    Attributes:
        data: Its bytes.
        etag: What the server calls this version, "" for nothing.
        modified: Its date as a header, "" for nothing.
        ranges: Whether parts can be had; "always" gives them although the file is another by now.
        shift: Answer with a part that begins so many bytes too late.
        statuses: Answered before anything else, one a request.
        cuts: The connection ends after so many bytes, one a request.
        always_cut: The connection ends after so many bytes, each time.
        length: A wrong Content-Length.
        chunked: Send it without a length.
        redirect: Where to go instead.
        stall: After so many bytes wait until the server is released.
    """

    data: bytes = b""
    etag: str = '"1"'
    modified: str = ""
    ranges: bool | str = True
    shift: int = 0
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    always_cut: int | None = None
    length: int | None = None
    chunked: bool = False
    redirect: str = ""
    stall: int | None = None


class Server:
    """Serves ``files`` by their path; ``asked`` has path and Range of each request."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.release = threading.Event()
        server = self

        class Handler(_Handler):
            owner = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.release.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def url(self, path: str) -> str:
        """Return the address of a file."""
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}{path}"

    def ranges(self, path: str) -> list[str | None]:
        """Return which parts of a file were asked for."""
        return [part for asked, part in self.asked if asked == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.owner.asked.append((self.path, self.headers["Range"]))
        self.close_connection = True
        one = self.owner.files.get(self.path)
        if one is None:
            self._status(404)
        elif one.statuses:
            self._status(one.statuses.pop(0))
        elif one.redirect:
            self._status(302, Location=one.redirect)
        else:
            self._file(one)

    def _status(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, one: Served) -> None:
        first, data = self._part(one)
        if data is None:
            self._status(416)
            return
        self.send_response(206 if first is not None else 200)
        if first is not None:
            self.send_header("Content-Range", f"bytes {first}-{len(one.data) - 1}/{len(one.data)}")
        if one.etag:
            self.send_header("ETag", one.etag)
        if one.modified:
            self.send_header("Last-Modified", one.modified)
        if not one.chunked:
            self.send_header("Content-Length", str(len(data) if one.length is None else one.length))
        self.end_headers()
        cut = one.cuts.pop(0) if one.cuts else one.always_cut
        data = data if cut is None else data[:cut]
        if one.stall is not None:
            self._send(data[: one.stall])
            self.owner.release.wait()
            data = data[one.stall :]
        self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            """The client went away, which is what some tests are about."""

    def _part(self, one: Served) -> tuple[int | None, bytes | None]:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        same = self.headers["If-Range"] in (None, one.etag or None, one.modified or None)
        if not match or not one.ranges or (not same and one.ranges != "always"):
            return None, one.data
        first = int(match[1]) + one.shift
        return (first, one.data[first:]) if first < len(one.data) else (None, None)


def make_certificate(folder: Path) -> Path:
    """Make a certificate of 127.0.0.1 that signs itself; return the file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    path = folder / "loopback.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
