"""Where downloads are kept: one root for card images, the lab and the artifacts of the roles."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def root() -> Path:
    """Return $PICLUSTER_CACHE, or the platform's place for caches (~/.cache/picluster on Linux).

    Any file below it may be deleted; it is fetched or built again.
    """
    chosen = os.environ.get("PICLUSTER_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("picluster", appauthor=False)
