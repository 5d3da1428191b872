# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""`k3s agent`: joins the server, and reports that the node is alive."""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
from typing import TYPE_CHECKING

from lab.k3s_stand_in.api import JOIN_PATH
from lab.k3s_stand_in.client import ask, trusted_ca
from lab.k3s_stand_in.files import write
from lab.k3s_stand_in.output import NOTICE, FatalError, log
from lab.k3s_stand_in.systemd import notify

if TYPE_CHECKING:
    from lab.k3s_stand_in.settings import Settings

# pkg/agent/run.go of k3s: an agent looks again every 2 s, for ever.
RETRY_SECONDS = 2.0


def run_agent(settings: Settings) -> None:
    """Query the server until it answers, then keep reporting that the node is alive."""
    server, token = settings.text("server").rstrip("/"), settings.secret("token")
    if not server.startswith("https://") or not token:
        raise FatalError("--server and --token are required")
    authorization = "Basic " + base64.b64encode(f"node:{token.rpartition(':')[2]}".encode()).decode()
    frequency = settings.heartbeat
    joined = False
    ca = ""
    while True:
        try:
            ca = ca or trusted_ca(server, token)
            ask(f"{server}{JOIN_PATH}", ca, authorization, "POST", json.dumps(settings.node))
        except (OSError, ssl.SSLError) as error:
            reason = "not authorized" if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
            log("error", f"Failed to validate connection to cluster at {server}: {reason}")
            ca = ca if joined else ""  # a server that was set up anew has a new CA
            time.sleep(RETRY_SECONDS)
            continue
        if not joined:
            joined = True
            write(settings.data / "agent/server-ca.crt", ca)
            log("info", f"{NOTICE}; joined {server}")
            notify("READY=1\nSTATUS=stand-in, not Kubernetes")
        time.sleep(frequency)
