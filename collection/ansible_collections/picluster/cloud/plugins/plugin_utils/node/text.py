# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The cause of a failure, extracted from the messages of Ansible and ssh."""

from __future__ import annotations

import re

# What Ansible and ssh print before the cause; the line that shows the cause names the node.
_PREFIXES = re.compile(
    r"^(Task failed|Module failed|Action failed|Failed to authenticate|Failed to connect to the host via ssh"
    r"|non-zero return code|MODULE FAILURE"
    r"|Data could not be sent to remote host \"[^\"]*\"\. Make sure this host can be reached over ssh)\s*[.:]\s*",
    re.IGNORECASE,
)
_SSH_NOISE = re.compile(
    r"^(Warning: Permanently added|\*\* |debug\d:|OpenSSH_|Pseudo-terminal|mux_client|ControlSocket"
    r"|Shared connection to)"
)
# The command that ssh suggests to remove a host key that has changed.
_FORGET = re.compile(r"ssh-keygen -f .+ -R \S+")
_LONGEST_REASON = 400


def shortened(message: str) -> str:
    """Return a message on one line, from the cause on."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in message:
        hint = _FORGET.search(message)
        return "its host key has changed" + (f"; if its card was burnt again, run: {hint[0]}" if hint else "")
    lines = [line.strip() for line in message.splitlines()]
    text = " ".join(line for line in (_stripped(line) for line in lines) if line and not _SSH_NOISE.match(line))
    text = " ".join(_stripped(text).split())
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 3] + "..."


def _stripped(line: str) -> str:
    while (rest := _PREFIXES.sub("", line)) != line:
        line = rest
    return line
