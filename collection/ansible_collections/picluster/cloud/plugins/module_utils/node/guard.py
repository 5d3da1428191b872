# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What a change that can lock the owner out needs from its rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ansible_collections.picluster.cloud.plugins.module_utils.node.bounds import Bounds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

# The time for a new login. A slow board needs some seconds, and until then nobody else can use the node.
CONFIRM_WITHIN = Bounds(10, 3600, "seconds")


class Guard(Protocol):
    """As much of confirm's Rollback as a subject uses.

    A protocol, because a subject's room imports no other room: the module hands the rollback in.
    """

    def resume(self) -> bool:
        """Finish a restore that was interrupted; return whether an earlier run's change is still unconfirmed."""
        ...

    def arm(  # noqa: PLR0913 - the rollback's own signature
        self,
        seconds: int,
        token: str | None,
        files: Sequence[str],
        restore: Sequence[Sequence[str]],
        *,
        at_boot: Sequence[Sequence[str]] = (),
        at_confirm: Sequence[Sequence[str]] = (),
    ) -> dict[str, Any]:
        """Save files and have them restored, and the commands run, after some seconds; return what to confirm."""
        ...

    def undo(self) -> bool:
        """Roll back now; return False if nothing is armed."""
        ...

    def undo_on_failure(self) -> AbstractContextManager[None]:
        """Roll back at once if the change inside fails."""
        ...
