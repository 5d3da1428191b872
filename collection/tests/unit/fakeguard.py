"""A rollback for tests: it saves a fake node's files, and its calls are among the node's commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import Rollback
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakenode import FakeNode


class FakeGuard:
    """What a subject needs from confirm's Rollback, which has tests of its own.

    Attributes:
        armed: Whether a change waits for its confirmation.
        restoring: Whether a restore was interrupted.
        files: The paths of the last arming.
        restore: The commands of the last arming.
        at_boot: Those for the boot.
        at_confirm: Those for the confirmation.
        stuck: Whether a restore fails.
    """

    def __init__(self, node: FakeNode) -> None:
        self._node = node
        self._saved: dict[str, str | None] = {}
        self.armed = False
        self.restoring = False
        self.files: list[str] = []
        self.restore: list[list[str]] = []
        self.at_boot: list[list[str]] = []
        self.at_confirm: list[list[str]] = []
        self.stuck = False

    def resume(self) -> bool:
        if self.restoring:
            self._node.note("test", "partly rolled back", "rolled back")
            self.undo()
            return False
        return self.armed

    def arm(  # noqa: PLR0913 - as the real one
        self,
        seconds: int,
        token: str | None,
        files: Sequence[str],
        restore: Sequence[Sequence[str]],
        *,
        at_boot: Sequence[Sequence[str]] = (),
        at_confirm: Sequence[Sequence[str]] = (),
    ) -> dict[str, Any]:
        assert not self._node.check_mode
        self._node.commands.append("arm")
        for path in files:
            self._saved.setdefault(path, self._node.files.read(path))
        self.armed = True
        self.files, self.restore, self.at_boot = list(files), list(map(list, restore)), list(map(list, at_boot))
        self.at_confirm = list(map(list, at_confirm))
        return {"name": "test", "token": token, "within": seconds}

    def undo(self) -> bool:
        if not self.armed or self._node.check_mode:
            return False
        self._node.commands.append("undo")
        if self.stuck:
            raise UserError("the node could not be rolled back")
        for path, text in self._saved.items():
            if text is None:
                self._node.path(path).unlink(missing_ok=True)
            else:
                self._node.write(path, text)
        self.confirm()
        return True

    def confirm(self) -> None:
        self.armed = self.restoring = False
        self._saved.clear()

    # The real one is made of undo() alone.
    undo_on_failure = Rollback.undo_on_failure
