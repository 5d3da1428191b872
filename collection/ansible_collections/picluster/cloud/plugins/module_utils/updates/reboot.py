# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Why a node needs a restart, from what its files say. Pure."""

from __future__ import annotations

import re

# Seconds. No board is back sooner, and none that is not back by then comes.
_SHORTEST_WAIT, _LONGEST_WAIT = 10, 86400
# A kernel release: numbers, an ABI (Debian, Ubuntu), the packager's mark (+rpt, +deb13); the rest is its flavour, such
# as -rpi-v8, -v7l+, -amd64, -raspi. A Pi's image has kernels of several flavours, of which the board's model takes one.
_RELEASE = re.compile(r"^(?P<version>\d+(?:\.\d+)*(?:-\d[\w.~]*)*(?:\+[a-z]\w*)?)(?P<flavour>.*)$")


def parse_release(release: str) -> tuple[tuple[int, ...], str]:
    """Split a kernel release into its version, as numbers that can be compared, and its flavour."""
    found = _RELEASE.match(release)
    if not found:
        return (), release
    return tuple(map(int, re.findall(r"\d+", found["version"]))), found["flavour"]


def newer_kernel(running: str, installed: list[str]) -> str:
    """Return the newest installed kernel of the running one's flavour if it is newer than that; else nothing."""
    version, flavour = parse_release(running)
    newest, name = max(
        ((other, release) for release in installed for other, kind in [parse_release(release)] if kind == flavour),
        default=((), ""),
    )
    return name if newest > version else ""


def required_by(packages: str) -> list[str]:
    """Return what asked for a restart, once each, from the text of /run/reboot-required.pkgs."""
    return list(dict.fromkeys(line.strip() for line in packages.splitlines() if line.strip()))


def reasons(required: bool, packages: str, running: str, installed: list[str]) -> list[str]:  # noqa: FBT001 - read by name
    """Return why a node needs a restart, nothing if it does not.

    Args:
        required: whether /run/reboot-required is there.
        packages: the text of /run/reboot-required.pkgs, empty if there is none.
        running: release of the running kernel.
        installed: releases of the kernels on the disk.
    """
    found = []
    if required:
        by = required_by(packages)
        found.append("/run/reboot-required" + (f" by {', '.join(by)}" if by else ""))
    newer = newer_kernel(running, installed)
    if newer:
        found.append(f"kernel {newer} is installed, {running} runs")
    return found


def check_batch(batch: int) -> None:
    """Refuse what is no number of nodes.

    Raises:
        ValueError: it is none; the message is one sentence.
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}, wanted is how many nodes may be away at the same time, 1 at least")


def check_wait(seconds: int) -> None:
    """Refuse what is no time to wait for a node.

    Raises:
        ValueError: it is none; the message is one sentence.
    """
    if not _SHORTEST_WAIT <= seconds <= _LONGEST_WAIT:
        raise ValueError(
            f"{seconds} is no time to wait for a node, wanted are {_SHORTEST_WAIT} to {_LONGEST_WAIT} seconds"
        )
