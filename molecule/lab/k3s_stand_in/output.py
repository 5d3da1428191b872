# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What the stand-in prints: its version, its notice, answers, and log lines like those of k3s."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

VERSION = "v1.36.4+k3s1-stand-in"
NOTICE = "k3s stand-in: this is not Kubernetes"


class FatalError(Exception):
    """Ends the program as k3s's own fatal errors do."""


def say(text: str) -> None:
    """Print an answer."""
    sys.stdout.write(f"{text}\n")


def log(level: str, text: str) -> None:
    """Write a line as k3s's logger does."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = json.dumps(f"[stand-in] {text}", ensure_ascii=False)
    sys.stderr.write(f'time="{now}" level={level} msg={message}\n')
    sys.stderr.flush()
