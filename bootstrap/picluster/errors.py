"""The one kind of error that is written for users."""

from __future__ import annotations


class PiclusterError(Exception):
    """Input or a card cannot be used; the message is one sentence: what is wrong, what was found, what to do."""
