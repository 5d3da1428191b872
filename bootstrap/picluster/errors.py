"""The one kind of error a user is meant to read."""

from __future__ import annotations


class PiclusterError(Exception):
    """Input or a card that cannot be used; its text is one sentence that says what was found and what to do."""
