"""Where downloads are kept: one root for card images, the lab and the artifacts of the roles."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from picluster.errors import PiclusterError


def root() -> Path:
    """Return $PICLUSTER_CACHE, or the platform's place for caches (~/.cache/picluster on Linux).

    Any file below it may be deleted; it is fetched or built again.

    Raises:
        PiclusterError: if PICLUSTER_CACHE is below the home of nobody.
    """
    chosen = os.environ.get("PICLUSTER_CACHE")
    if not chosen:
        return platformdirs.user_cache_path("picluster", appauthor=False)
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        raise PiclusterError(
            f"PICLUSTER_CACHE is {chosen}, but there is no such user's home: name the directory in full"
        ) from error
