# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""`k3s kubectl`: the few queries of an installer."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from lab.k3s_stand_in.client import ask
from lab.k3s_stand_in.output import NOTICE, VERSION, FatalError, say
from lab.k3s_stand_in.settings import read_flags


def run_kubectl(arguments: list[str]) -> None:
    """Answer the few queries of an installer."""
    flags, given = read_flags(arguments)
    place = flags.get("kubeconfig", [os.environ.get("KUBECONFIG", "/etc/rancher/k3s/k3s.yaml")])[-1]
    lines = Path(place).read_text(encoding="utf-8").splitlines()
    fields = dict(line.strip().split(": ", 1) for line in lines if ": " in line)
    server = fields["server"]
    ca = base64.b64decode(fields["certificate-authority-data"]).decode()
    bearer = f"Bearer {fields['token']}"
    raw, output = flags.get("raw", [""])[-1], flags.get("output", [""])[-1]
    verb, *words = given or ["help"]
    kind, names = (words[0].rstrip("s") if words else ""), words[1:]
    if verb == "get" and raw in ("/readyz", "/version", "/api/v1/nodes"):
        say(ask(server + raw, ca, bearer))
    elif verb == "version":
        remote = json.loads(ask(f"{server}/version", ca, bearer))["gitVersion"]
        say(f"Client Version: {VERSION}\nServer Version: {remote}")
    elif verb == "get" and kind in ("node", "no"):
        listing = json.loads(ask(f"{server}/api/v1/nodes", ca, bearer))
        listing["items"] = [item for item in listing["items"] if not names or item["metadata"]["name"] in names]
        show(listing["items"][0] if len(names) == 1 and listing["items"] else listing, output)
    elif verb == "delete" and kind == "node" and names:
        for name in names:
            ask(f"{server}/api/v1/nodes/{name}", ca, bearer, "DELETE")
            say(f'node "{name}" deleted')
    else:
        raise FatalError(f"{NOTICE}; it cannot do 'kubectl {' '.join(arguments)}'")


def show(found: dict[str, Any], output: str) -> None:
    """Print nodes as kubectl does."""
    items = found.get("items", [found])
    if output == "json":
        say(json.dumps(found, indent=4))
    elif output == "name":
        say("\n".join(f"node/{item['metadata']['name']}" for item in items))
    else:
        say(f"{'NAME':<20}{'STATUS':<10}{'ROLES':<16}VERSION")
        for item in items:
            ready = item["status"]["conditions"][0]["status"] == "True"
            role = (
                "control-plane" if "node-role.kubernetes.io/control-plane" in item["metadata"]["labels"] else "<none>"
            )
            say(f"{item['metadata']['name']:<20}{'Ready' if ready else 'NotReady':<10}{role:<16}{VERSION}")
