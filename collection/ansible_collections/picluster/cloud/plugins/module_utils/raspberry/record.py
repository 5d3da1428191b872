# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What the module did to a Raspberry Pi, to be undone when a setting changes, and whether it waits for a restart."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

MARK = "/var/lib/picluster/raspberry"
REQUIRED = "/run/reboot-required"
REQUESTERS = f"{REQUIRED}.pkgs"
NAME = "picluster-raspberry"


@dataclass(frozen=True)
class BoardMark:
    """What the module did to this node.

    Attributes:
        flags: The words that it added to cmdline.txt.
        asked: The boot in which it requested a restart for them.
        swap_file: Whether it disabled dphys-swapfile.
        packages: The packages it installed.
    """

    flags: list[str] = field(default_factory=list)
    asked: str = ""
    swap_file: bool = False
    packages: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the text that read_mark reads."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def read_mark(text: str | None) -> BoardMark:
    """Parse a mark; one that a broken card damaged counts as none."""
    try:
        return BoardMark(**json.loads(text or "{}"))
    except (ValueError, TypeError):
        return BoardMark()


class BoardRecord:
    """The node's mark, and the marker of a restart.

    Attributes:
        mark: The mark as it is now.
        pending: Whether a change takes effect at the next boot.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.mark = read_mark(node.files.read(MARK))
        self.pending = False

    def keep(self, **changes: Any) -> None:  # noqa: ANN401 - the attributes of a mark
        """Change the mark, before the change that it names."""
        self.mark = replace(self.mark, **changes)
        self._node.files.put(MARK, None if self.mark == BoardMark() else self.mark.text(), 0o600)

    def _requesters(self) -> list[str]:
        return (self._node.files.read(REQUESTERS) or "").splitlines()

    def require_restart(self) -> bool:
        """Mark the node as waiting for a restart, before the change; return whether it was marked before."""
        if self.pending:
            return True
        self.pending = True
        requesters = self._requesters()
        required = self._node.path(REQUIRED).exists() and NAME in requesters
        if not required:
            self._node.files.put(REQUESTERS, "".join(f"{name}\n" for name in dict.fromkeys([*requesters, NAME])))
            self._node.files.put(REQUIRED, "*** System restart required ***\n")
        return required

    def forget_restart(self) -> None:
        """Take the mark of a restart back, unless others require one."""
        requesters = [name for name in self._requesters() if name != NAME]
        self._node.files.put(REQUESTERS, "".join(f"{name}\n" for name in requesters) or None)
        if not requesters:
            self._node.files.remove(REQUIRED)
