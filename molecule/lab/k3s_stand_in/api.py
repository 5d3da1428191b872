# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The server's API over TLS: /cacerts, /ping, /v1-k3s/readyz, signs of life of nodes, and what kubectl queries."""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from lab.k3s_stand_in.output import NOTICE, VERSION, log

if TYPE_CHECKING:
    import ssl

    from lab.k3s_stand_in.registry import Registry

JOIN_PATH = "/v1-k3s/stand-in/node"


class Handler(BaseHTTPRequestHandler):
    """Answers agents, kubectl and readiness checks."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    registry: Registry
    tokens: dict[str, str]
    ca: str

    def do_GET(self) -> None:
        """Answer a query."""
        if self.path == "/cacerts":
            self._answer(200, self.ca)
        elif self.path == "/ping":
            self._answer(200, "pong")
        elif self.path == "/v1-k3s/readyz" and self._is("node"):
            self._answer(200, "ok")
        elif self.path in ("/readyz", "/api/v1/nodes", "/version") and self._is("admin"):
            known = {"/readyz": "ok", "/version": json.dumps({"gitVersion": VERSION})}
            self._answer(200, known.get(self.path) or json.dumps(self.registry.listing()))

    def do_POST(self) -> None:
        """Record the sign of life of a node."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 1 << 16))
        if self.path == JOIN_PATH and self._is("node"):
            self.registry.beat({key: str(value) for key, value in json.loads(body).items()})
            self._answer(200, "{}")

    def do_DELETE(self) -> None:
        """Forget a node."""
        if self.path.startswith("/api/v1/nodes/") and self._is("admin"):
            found = self.registry.delete(self.path.rpartition("/")[2])
            self._answer(200 if found else 404, "{}")

    def _is(self, user: str) -> bool:
        """Check the credentials: basic for nodes, bearer for kubectl. Answers itself if they are wrong."""
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        given = base64.b64decode(value).decode("utf-8", "replace") if kind == "Basic" else f"admin:{value}"
        if hmac.compare_digest(given.encode(), f"{user}:{self.tokens[user]}".encode()):
            return True
        if kind:
            log("error", f"Failed to authenticate request from {self.client_address[0]}: not authorized")
        self._answer(401, json.dumps({"kind": "Status", "status": "Failure", "message": "not authorized", "code": 401}))
        return False

    def _answer(self, code: int, text: str) -> None:
        data = text.encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Server", NOTICE)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Stay quiet: a heartbeat is no news."""


class Listener(ThreadingHTTPServer):
    """Shakes hands in the connection's own thread, so that a slow caller keeps nobody waiting."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(address, Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's types
        """Put TLS around the connection."""
        with contextlib.suppress(OSError):
            request.settimeout(Handler.timeout)
            super().finish_request(self._context.wrap_socket(request, server_side=True), client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's types
        """Drop a connection that broke."""
