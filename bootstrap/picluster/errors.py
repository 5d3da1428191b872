"""The one kind of error that is written for users."""

from __future__ import annotations

_LONGEST = 60


class PiclusterError(Exception):
    """Input or a card cannot be used; the message is one sentence: what is wrong, what was found, what to do."""


def shown(value: object) -> str:
    """Return a value of a YAML file for a message, with its type."""
    if value is None:
        return "an empty value"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a mapping"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return f'the string "{short}"' if isinstance(value, str) else short
