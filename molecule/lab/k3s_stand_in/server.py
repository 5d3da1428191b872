# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""`k3s server`: the cluster's secrets and certificates, the API, and the node that the server itself is."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab.k3s_stand_in.api import Handler, Listener
from lab.k3s_stand_in.certificates import make_certificates
from lab.k3s_stand_in.files import write
from lab.k3s_stand_in.output import NOTICE, FatalError, log
from lab.k3s_stand_in.registry import Registry
from lab.k3s_stand_in.systemd import notify

if TYPE_CHECKING:
    from lab.k3s_stand_in.settings import Settings


def run_server(settings: Settings) -> None:
    """Run the server, and the node on it."""
    if settings.text("server"):
        raise FatalError("this stand-in knows no second server")
    base, tls, node = settings.data / "server", settings.data / "server/tls", settings.node
    names = ["127.0.0.1", "localhost", node["name"], node["ip"], *settings.values.get("tls-san", [])]
    if settings.text("advertise-address"):
        names.append(settings.text("advertise-address"))
    known = (base / "cred/passwd").read_text(encoding="utf-8").strip() if (base / "cred/passwd").exists() else ""
    token = settings.secret("token") or known or secrets.token_hex(16)
    if known and known != token:
        raise FatalError("bootstrap data already found and encrypted with different token")
    make_certificates(tls, names)
    ca = (tls / "server-ca.crt").read_text(encoding="utf-8")
    prefix = f"K10{hashlib.sha256(ca.encode()).hexdigest()}"
    agent_token, admin = settings.secret("agent-token") or token, secrets.token_hex(16)
    write(base / "cred/passwd", token)
    write(base / "token", f"{prefix}::server:{token}\n")
    write(base / "agent-token", f"{prefix}::node:{agent_token}\n")
    with contextlib.suppress(FileExistsError):
        (base / "node-token").symlink_to("token")
    Handler.registry = Registry(base / "db/state.json", settings.grace)
    Handler.tokens = {"node": agent_token, "admin": admin}
    Handler.ca = ca
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "serving.crt", tls / "serving.key")
    port = int(settings.text("https-listen-port", "6443"))
    try:
        listener = Listener((settings.text("bind-address", "0.0.0.0"), port), context)  # noqa: S104 - as k3s does
    except OSError as error:
        raise FatalError(f"starting kubernetes: listen on port {port}: {error}") from error
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    write(Path(settings.text("write-kubeconfig", "/etc/rancher/k3s/k3s.yaml")), kubeconfig(port, ca, admin))
    log("info", f"{NOTICE}; listening on {port}")
    notify("READY=1\nSTATUS=stand-in, not Kubernetes")
    frequency = settings.heartbeat
    while True:
        if not settings.switch("disable-agent"):
            Handler.registry.beat(node)
        time.sleep(frequency)


def kubeconfig(port: int, ca: str, token: str) -> str:
    """Make k3s.yaml."""
    data = base64.b64encode(ca.encode()).decode()
    return (
        f"# {NOTICE}\napiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority-data: {data}\n"
        f"    server: https://127.0.0.1:{port}\n  name: default\ncontexts:\n- context:\n    cluster: default\n"
        f"    user: default\n  name: default\ncurrent-context: default\nusers:\n- name: default\n"
        f"  user:\n    token: {token}\n"
    )
