# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""systemd's notification protocol (sd_notify)."""

from __future__ import annotations

import os
import socket


def notify(message: str) -> None:
    """Send a message to systemd, if systemd started the service with Type=notify."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.connect("\0" + address[1:] if address.startswith("@") else address)
            link.sendall(message.encode())
