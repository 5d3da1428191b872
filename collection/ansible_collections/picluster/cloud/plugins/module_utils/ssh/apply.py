# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Access to a node: files, accounts and the running sshd, brought to the policy or left as they were."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.accounts import Accounts, LoginFile, sudoers_path
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.daemon import DROPIN, RELOAD, Sshd
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import parse_operators
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import desired_policy, render, strong_moduli

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import Connection
    from ansible_collections.picluster.cloud.plugins.module_utils.node.guard import Guard
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

MODULI = "/etc/ssh/moduli"


class Access:
    """Who may log in to the node by ssh, and how."""

    def __init__(self, node: Node, guard: Guard, options: Mapping[str, Any], connection: Connection | None) -> None:
        """Take the module's options; raise UserError if operators is invalid, or there is no sshd."""
        self._node = node
        self._guard = guard
        self._options = options
        self._controller = connection.client if connection else None
        self._operators = parse_operators(options["operators"])
        self._accounts = Accounts(node, self._operators)
        self._sshd = Sshd(node, options["user"], connection)

    def converge(self) -> dict[str, Any]:
        """Bring the node to the policy; return the module's answer.

        Raises UserError if the policy is invalid, would lock the user out, or does not take effect; nothing has changed
        then but accounts that nobody can use and host keys.
        """
        unconfirmed = self._guard.resume()
        if unconfirmed:
            # A run was killed before its change was proven, so this one proves it.
            self._node.note("sshd", "unconfirmed", "confirmed")
        release, exclusive = self._sshd.release(), bool(self._operators)
        policy = desired_policy(self._options, release, self._controller, exclusive=exclusive)
        judged = self._sshd.judge(policy, self._options["settings"])
        self._sshd.check_login(judged, self._operators)
        self._accounts.create()
        self._sshd.create_host_keys(judged.policy)
        logins, configs = self._accounts.files(), self._configs(judged.policy)
        stale = [file.path for file in [*logins, *configs] if not file.is_right(self._node)]
        answer: dict[str, Any] = {"reloaded": False, "left_out": judged.left_out}
        if not (self._node.changed or stale or not self._accounts.admitted):
            return answer | {"effective": self._sshd.in_effect(judged)}
        if self._node.check_mode:
            self._write(logins, configs)
            return answer
        confirm = self._arm(stale, again=unconfirmed)
        with self._guard.undo_on_failure():
            self._write(logins, configs)
            effective = self._sshd.in_effect(judged)
            self._node.change(*RELOAD)
        return answer | {"reloaded": True, "effective": effective, "confirm": confirm}

    def _configs(self, policy: Mapping[str, list[str]]) -> list[LoginFile]:
        files = [LoginFile(DROPIN, render(policy))]
        moduli = self._node.files.read(MODULI)
        # Only where a client can ask for them: the file is a conffile of the package.
        if moduli and "group-exchange" in " ".join(policy.get("KexAlgorithms", [])):
            strong = strong_moduli(moduli)
            # Without any line, sshd would fall back to its own small groups.
            if any(not line.startswith("#") for line in strong.splitlines()):
                files.append(LoginFile(MODULI, strong))
        return files

    def _arm(self, stale: list[str], *, again: bool) -> dict[str, Any]:
        # An arming that is kept has noted the members itself; by now they may be those that are to go.
        admission = [] if again else self._accounts.restore_commands()
        within, token = self._options["confirm_within"], self._options["confirm_token"]
        return self._guard.arm(within, token, stale, [*admission, RELOAD], at_boot=admission)

    def _write(self, logins: list[LoginFile], configs: list[LoginFile]) -> None:
        """Write the keys before the policy, which may shut out the others."""
        gone = [file.path for file in logins if file.text is None and not file.is_right(self._node)]
        for file in logins:
            file.write(self._node)
        user = self._options["user"]
        # Ansible, which became root by sudo, must be able to do so again.
        if sudoers_path(user) in gone and os.environ.get("SUDO_USER") == user and self._accounts.loses_sudo(user):
            raise UserError(
                f"operators.{user}.sudo is false, but Ansible becomes root by sudo as {user}; set it to true"
            )
        # Not earlier: the membership shows the run after a kill whose keys and sudo are still to be removed.
        self._accounts.admit()
        for file in configs:
            file.write(self._node)
