# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Requests to the server over TLS."""

from __future__ import annotations

import hashlib
import ssl
import urllib.request

from lab.k3s_stand_in.output import FatalError


def ask(url: str, ca: str, authorization: str, method: str = "GET", body: str = "") -> str:
    """Ask the server over verified TLS."""
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    request = urllib.request.Request(url, method=method, headers=headers, data=body.encode() if body else None)  # noqa: S310 - https only
    context = ssl.create_default_context(cadata=ca)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(request, timeout=10) as response:
        text: str = response.read().decode()
    return text


def trusted_ca(server: str, token: str) -> str:
    """Fetch the server's CA: trusted at first contact, unless the token pins it (K10<sha256 of the CA>::user:...)."""
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=blind))
    with opener.open(f"{server}/cacerts", timeout=10) as response:
        ca: str = response.read().decode()
    if token.startswith("K10") and token[3:67] != hashlib.sha256(ca.encode()).hexdigest():
        raise FatalError("token CA hash does not match the Cluster CA certificate hash")
    return ca
