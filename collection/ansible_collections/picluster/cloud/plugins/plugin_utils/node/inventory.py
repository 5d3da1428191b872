# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The inventory as the controller checks it, and what a check reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Inventory:
    """The inventory as Ansible has read it.

    Attributes:
        groups: The hosts of each group.
        variables: The variables of each node, not templated.
    """

    groups: Mapping[str, Sequence[str]]
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def members(self, group: str) -> list[str]:
        """Return the hosts of a group; none if the group does not exist."""
        return list(self.groups.get(group, []))


@dataclass(frozen=True)
class Problem:
    """One mistake in the inventory.

    Attributes:
        text: What is wrong, what was found, what to do.
        key: The variable concerned, if any.
        node: The node concerned, if any.
        group: The group concerned, if any.
        file: The file that it belongs in, below the inventory's directory, if it is in no file yet.
    """

    text: str
    key: str = ""
    node: str = ""
    group: str = ""
    file: str = ""
