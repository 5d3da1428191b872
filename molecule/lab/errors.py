"""The one exception of the lab: a sentence for the user."""

from __future__ import annotations


class LabError(Exception):
    """What went wrong, in one sentence; the command line prints it and exits with 2."""
