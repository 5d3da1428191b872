# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Bounds of settings that are numbers: declared once by a subject, for the inventory check and its modules. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Bounds:
    """The smallest and largest value of a setting; None means that there is no limit.

    `off` says what a 0 below `least` stands for; empty if that is not allowed.
    """

    least: int | None = None
    most: int | None = None
    unit: str = ""
    off: str = ""

    @property
    def text(self) -> str:
        """The bounds for a message or a table, such as "64 to 4096 MiB" or "at least 1"."""
        if self.least is not None and self.most is not None:
            ends = f"{self.least} to {self.most}"
        else:
            ends = f"at most {self.most}" if self.least is None else f"at least {self.least}"
        return f"{ends} {self.unit}".rstrip() + (f", or 0 for {self.off}" if self.off else "")

    def check(self, name: str, value: int | None) -> None:
        """Raise UserError if a value is out of bounds; None leaves a setting to the image."""
        if value is None or (self.off and value == 0):
            return
        if (self.least is not None and value < self.least) or (self.most is not None and value > self.most):
            raise UserError(f"{name} is out of range: {value}; expected {self.text}")


def bounded(bounds: Mapping[str, Bounds], options: Mapping[str, Any]) -> Iterator[tuple[str, Bounds, Any]]:
    """Yield name, bounds and value of each option that has bounds and a value; a dot leads to a key of a mapping."""
    for name, one in bounds.items():
        found: Any = options
        for key in name.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if found is not None:
            yield name, one, found


def check_bounds(bounds: Mapping[str, Bounds], options: Mapping[str, Any]) -> None:
    """Raise UserError if one of a module's options is out of its bounds."""
    for name, one, value in bounded(bounds, options):
        one.check(name, value)
