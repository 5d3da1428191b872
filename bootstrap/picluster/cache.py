"""The directory of the cache: one root for card images, the lab and the artifacts of the roles."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from picluster.errors import PiclusterError


def root() -> Path:
    """Return $PICLUSTER_CACHE, or the cache directory of the platform (~/.cache/picluster on Linux).

    Every file in it may be deleted; it is downloaded or built again.
    """
    chosen = os.environ.get("PICLUSTER_CACHE")
    if not chosen:
        return platformdirs.user_cache_path("picluster", appauthor=False)
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        raise PiclusterError(
            f"PICLUSTER_CACHE {chosen} cannot be used: there is no such user's home; give an absolute path"
        ) from error
