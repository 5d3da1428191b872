# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The node's firewall: its table, file and unit, brought to the desired rules or removed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.firewall import plan
from ansible_collections.picluster.cloud.plugins.module_utils.firewall.plan import NFT, RULES, TABLE, UNIT
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.guard import Guard
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

PACKAGE = "nftables"
# Loads rules into a network namespace of their own, to see how this kernel and this nft print them.
_SCRATCH = f'{NFT} -f "$1" && {NFT} --stateless list table {TABLE}'


class Firewall:
    """The node's table, its file and its unit."""

    def __init__(self, node: Node, guard: Guard, lock_timeout: int) -> None:
        self._node = node
        self._guard = guard
        self._packages = Packages(node, lock_timeout)

    def present(self, text: str, within: int, token: str | None) -> dict[str, Any]:
        """Load exactly these rules, now and at every boot; return whether any were loaded, and what to confirm.

        They must be confirmed `within` these seconds. If the node refuses them, its former rules are restored.
        """
        installed = self._install()
        unconfirmed = self._guard.resume()
        live, listed = (self._live(), self._check(text)) if installed else (None, None)
        # The table was removed or changed, or a run was killed before it loaded the file.
        drifted = live is None or (listed is not None and live != listed)
        self._node.files.put(plan.UNIT_FILE, plan.UNIT_TEXT)
        self._node.files.put(plan.DROPIN, plan.DROPIN_TEXT)
        loads = drifted or unconfirmed or self._node.files.read(RULES) != text
        answer: dict[str, Any] = {"loaded": loads}
        if loads and not self._node.check_mode:
            answer["confirm"] = self._guard.arm(within, token, [RULES], [plan.RESTORE[live is None]])
        with self._guard.undo_on_failure():
            if loads:
                self._load(text, live, listed or text)
            units = self._node.units
            units.reload_daemon_if_needed(UNIT, "nftables.service")
            state = units.show(UNIT)[UNIT]
            units.enable(UNIT, state)
            units.start(UNIT, state)
        return answer

    def absent(self) -> None:
        """Remove table, file and unit; needs no confirmation, because an open node cannot lock anyone out."""
        # A restore that came later would bring the rules back for good.
        self._guard.undo()
        if self._node.files.read(plan.UNIT_FILE) is not None:
            self._node.change("systemctl", "disable", "--now", UNIT)
        live = self._live() if self._node.path(NFT).exists() else None
        if live is not None:
            self._node.note(f"table {TABLE}", live, "")
            self._node.change(NFT, "delete", "table", *TABLE.split())
        self._node.files.remove(RULES)
        removed = [self._node.files.remove(path) for path in (plan.DROPIN, plan.UNIT_FILE)]
        if any(removed):
            self._node.units.reload_daemon()

    def _install(self) -> bool:
        """Install nft; return whether it is there, which in check mode it may not be."""
        if not self._node.path(NFT).exists():
            self._packages.install([PACKAGE])
            return not self._node.check_mode
        return True

    def _live(self) -> str | None:
        """Return the loaded table without its counters, or None if there is none."""
        outcome = self._node.run(NFT, "--stateless", "list", "table", *TABLE.split())
        return outcome.out if outcome.ok else None

    def _check(self, text: str) -> str | None:
        """Return how nft would list these rules, None if no trial is possible; raise UserError if it rejects them."""
        with tempfile.NamedTemporaryFile("w", suffix=".nft", encoding="utf-8") as candidate:
            candidate.write(text)
            candidate.flush()
            trial = self._node.run("unshare", "--net", "sh", "-c", _SCRATCH, "sh", candidate.name)
            if trial.ok:
                return trial.out
            # Either the rules are wrong or there are no network namespaces here; --check needs none.
            checked = self._node.run(NFT, "--check", "--file", candidate.name)
            if not checked.ok:
                reason = checked.reason.replace(candidate.name, Path(RULES).name)
                raise UserError(f"nft rejects the rules: {reason}; nothing was changed")
        return None

    def _load(self, text: str, live: str | None, listed: str) -> None:
        if not self._node.files.put(RULES, text):
            self._node.note(f"table {TABLE}", live or "", "unconfirmed" if live == listed else listed)
        self._node.change(NFT, "--file", RULES)
