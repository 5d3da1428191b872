# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The cluster's CA and the server's certificate, made with the openssl program."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
from typing import TYPE_CHECKING

from lab.k3s_stand_in.output import FatalError

if TYPE_CHECKING:
    from pathlib import Path


def openssl(*arguments: str) -> None:
    """Run openssl."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FatalError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")


def make_certificates(tls: Path, names: list[str]) -> None:
    """Make the cluster's CA once, and the server's certificate at every start."""
    tls.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    ca, ca_key, request = tls / "server-ca.crt", tls / "server-ca.key", tls / "serving.csr"
    if not ca.exists():
        fresh = tls / "server-ca.new"
        openssl(
            *("req", "-x509", *key, "-days", "3650", "-subj", "/CN=k3s-stand-in-server-ca"),
            *("-addext", "keyUsage=critical,keyCertSign,digitalSignature"),
            *("-keyout", str(ca_key), "-out", str(fresh)),
        )
        fresh.replace(ca)
    addresses = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in dict.fromkeys(names))
    openssl("req", "-new", *key, "-subj", "/CN=k3s", "-keyout", str(tls / "serving.key"), "-out", str(request))
    extension = tls / "serving.ext"
    extension.write_text(f"subjectAltName={addresses}\n", encoding="utf-8")
    openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key), "-days", "365"),
        *("-set_serial", str(secrets.randbits(63)), "-extfile", str(extension), "-out", str(tls / "serving.crt")),
    )


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, name)
            return True
    return False
