# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Why a node needs a restart."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

REQUIRED = "/run/reboot-required"
# A kernel release: numbers, an ABI (Debian, Ubuntu), the packager's mark (+rpt, +deb13); the rest is its flavour, such
# as -rpi-v8, -v7l+, -amd64, -raspi. A Pi's image has kernels of several flavours; the board's model selects one.
_RELEASE = re.compile(r"^(?P<version>\d+(?:\.\d+)*(?:-\d[\w.~]*)*(?:\+[a-z]\w*)?)(?P<flavour>.*)$")


def parse_release(release: str) -> tuple[tuple[int, ...], str]:
    """Split a kernel release into its version, as comparable numbers, and its flavour."""
    found = _RELEASE.match(release)
    if not found:
        return (), release
    return tuple(map(int, re.findall(r"\d+", found["version"]))), found["flavour"]


def newer_kernel(running: str, installed: list[str]) -> str:
    """Return the newest installed kernel of the running one's flavour if it is newer, else an empty text."""
    version, flavour = parse_release(running)
    newest, name = max(
        ((other, release) for release in installed for other, kind in [parse_release(release)] if kind == flavour),
        default=((), ""),
    )
    return name if newest > version else ""


def reboot_reasons(node: Node, running: str) -> list[str]:
    """Return why a node needs a restart, one sentence each; empty if it does not.

    Args:
        node: The node.
        running: Release of its running kernel.

    Raises:
        UserError: A file cannot be read.
    """
    found = []
    if node.path(REQUIRED).exists():
        lines = (node.files.read(f"{REQUIRED}.pkgs") or "").splitlines()
        requesters = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
        found.append(REQUIRED + (f" by {', '.join(requesters)}" if requesters else ""))
    # Only complete ones: dpkg indexes the modules last.
    installed = [path.parent.name for path in node.path("/lib/modules").glob("*/modules.dep")]
    if newer := newer_kernel(running, installed):
        found.append(f"kernel {newer} is installed, but {running} is running")
    return found
