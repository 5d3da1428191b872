# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Whose k3s a node has. Its installer uses our names and paths, so a name alone tells nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import BIN_DIR, HEADER, SERVICES, UNIT_DIR

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "k3s-v"


def our_unit(root: Path, service: str) -> bool:
    """Tell whether the service's unit is there and was written by the role."""
    try:
        text = (root / UNIT_DIR / f"{service}.service").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.startswith(HEADER)


def our_link(root: Path, name: str = "k3s") -> bool:
    """Tell whether a program is the role's link: to a release beside it.

    install.sh of k3s has a file k3s and links to that; other installers link to releases by absolute paths.
    """
    path = root / BIN_DIR / name
    return path.is_symlink() and str(path.readlink()).startswith(RELEASE)


def foreign_k3s(root: Path) -> str:
    """Return the path of a k3s that somebody else installed, empty if there is none."""
    units = [service for service in SERVICES.values() if _there(root, f"{UNIT_DIR}/{service}.service")]
    for service in units:
        if not our_unit(root, service):
            return f"/{UNIT_DIR}/{service}.service"
    return f"/{BIN_DIR}/k3s" if _there(root, f"{BIN_DIR}/k3s") and not our_link(root) else ""


def _there(root: Path, path: str) -> bool:
    return os.path.lexists(root / path)
