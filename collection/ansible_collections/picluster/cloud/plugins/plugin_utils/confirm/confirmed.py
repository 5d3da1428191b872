# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's half of commit-confirm: log in afresh under the new state; only then it becomes permanent."""

from __future__ import annotations

import secrets
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.summary import shortened

CONFIRM = "picluster.cloud.confirm"
# ssh takes the first value of an option, so these go before the user's arguments and the rest of them (a jump host, a
# file of host keys) stays. A login through a master that was opened before would prove nothing.
FRESH = (
    "-o ControlMaster=no -o ControlPath=none -o ConnectionAttempts=1 -o ServerAliveInterval=5 -o ServerAliveCountMax=2"
)
ATTEMPT = 10  # seconds for one login
PAUSE = 1.0  # seconds between two
REFUSALS = 3  # a key that was refused so often in a row will not be taken later
PATIENCE = 60  # seconds beyond the window for the node to come back in


class ConfirmedAction(ActionBase):  # type: ignore[misc]  # no types in ansible-core
    """Base of the action plugins whose module can lock the owner out; the module bears the action's name.

    The module gets `confirm_token`; where it answers with `confirm` (what `Rollback.arm` returned, and `host` if the
    node is to be reached at another address from now on), a fresh connection must run the confirm module.
    """

    _supports_check_mode = True
    _connection: Any

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module says, after the new login that makes it permanent."""
        super().run(tmp, task_vars)
        arguments = {"confirm_token": secrets.token_hex(16), **self._task.args}
        try:
            result, asked = self._change(arguments, task_vars)
            return result if asked is None else self._prove(result, asked, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)  # noqa: SLF001 - as ansible's own actions clean up

    def lost_answer(self, arguments: dict[str, Any]) -> dict[str, Any] | None:  # noqa: ARG002 - for subclasses
        """Return what to confirm where the connection broke during the change, None if that is no success.

        A change of address can cut the connection that it came by. Its action overrides this and returns name, token
        (`arguments['confirm_token']`), within and host.
        """
        return None

    def _change(
        self, arguments: dict[str, Any], task_vars: dict[str, Any] | None
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Run the module; return its result and what it wants confirmed."""
        try:
            result: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
        except AnsibleConnectionFailure:
            asked = self.lost_answer(arguments)
            if asked is None:
                raise
            return {"changed": True}, asked
        return result, result.pop("confirm", None)

    def _prove(self, result: dict[str, Any], asked: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Confirm over a fresh connection; return the module's result, or the failure."""
        host = asked.get("host")
        end = time.monotonic() + asked["within"]
        order = {"name": asked["name"], "token": asked["token"]}
        answer, why = self._ask_until(order, host, end, task_vars)
        if answer and not answer.get("failed"):
            if host:
                # The master of the old address leads nowhere.
                self._connection.reset()
            return result
        problem = f"no new login was possible after the change of {asked['name']}: {why}" if why else ""
        if answer:
            # What kept the first attempts from succeeding is the cause of a confirmation that comes too late.
            problem = "; ".join(filter(None, [str(answer.get("msg", answer)), problem]))
        return self._retreat(problem, order, end, task_vars, moved=bool(host))

    def _retreat(
        self, problem: str, order: dict[str, Any], end: float, task_vars: dict[str, Any] | None, *, moved: bool
    ) -> dict[str, Any]:
        """Have the node back where it was; return the failure."""
        undo = order | {"state": "undone"}
        # At once over the connection from before the change, if that still stands.
        back = None if moved else self._ask(undo, task_vars)[0]
        if not back or back.get("failed"):
            back, _why = self._ask_until(undo, None, end + PATIENCE, task_vars, patient=True)
        self._connection.reset()
        if back and back.get("overtaken"):
            what = "another run has made its own change since, which decides"
        elif back and not back.get("failed"):
            what = "the node has gone back to what it was before"
        else:
            what = "the node goes back to what it was before by itself, but does not answer yet"
        return {"failed": True, "changed": False, "msg": f"{problem}; {what}"}

    def _ask(self, order: dict[str, Any], task_vars: dict[str, Any] | None) -> tuple[dict[str, Any] | None, str]:
        """Run the confirm module over the present connection; return its answer, or None and why there is none."""
        try:
            return self._execute_module(module_name=CONFIRM, module_args=order, task_vars=task_vars), ""
        except AnsibleError as error:
            return None, shortened(str(error)).rstrip(".:") or "the connection broke off"

    def _ask_until(
        self,
        order: dict[str, Any],
        host: str | None,
        end: float,
        task_vars: dict[str, Any] | None,
        *,
        patient: bool = False,
    ) -> tuple[dict[str, Any] | None, str]:
        """Log in afresh until the confirm module answers, or `end`; return its answer, or None, and what failed last.

        Args:
            order: the confirm module's arguments.
            host: the address to log in at, None for the usual one.
            end: by time.monotonic().
            task_vars: the task's.
            patient: a refusal, or a failure of the module, may be over when the node is back.
        """
        refused = 0
        why = ""
        former = self._connection
        try:
            while True:
                self._connection = self._fresh(former, host, end)
                answer, trouble = self._ask(order, task_vars)
                self._connection.close()
                why = trouble or why
                if answer and not (patient and answer.get("failed")):
                    return answer, why
                Display().vv(f"picluster: no new login yet: {why}")
                refused = refused + 1 if "permission denied" in trouble.lower() else 0
                if (refused >= REFUSALS and not patient) or time.monotonic() + PAUSE >= end:
                    return answer, why
                time.sleep(PAUSE)
        finally:
            self._connection = former

    def _fresh(self, former: Any, host: str | None, end: float) -> Any:  # noqa: ANN401 - a connection plugin has no type
        """Return a new connection like `former`, to `host` if given, that shares nothing with it."""
        context = self._play_context.copy()
        if host:
            context.remote_addr = host
        fresh = self._shared_loader_obj.connection_loader.get(
            former.ansible_name,
            context,
            new_stdin=None,
            task_uuid=self._task._uuid,  # noqa: SLF001 - as the task's executor makes its connection
            ansible_playbook_pid="",
        )
        options = {name: value for name, value in former.get_options().items() if value is not None}
        attempt = max(1, min(ATTEMPT, int(end - time.monotonic())))
        changes: dict[str, Any] = {"ssh_args": f"{FRESH} {options.get('ssh_args', '')}".strip()}
        changes |= {"timeout": attempt, "reconnection_retries": 0} | ({"host": host} if host else {})
        # Other kinds of connections share nothing between two instances, and have other options.
        options |= {name: value for name, value in changes.items() if name in former.option_definitions}
        fresh.set_options(direct=options)
        fresh.set_become_plugin(former.become)
        # The same node, the same temporary folder: what is left behind there is cleared away once.
        fresh._shell = former._shell  # noqa: SLF001
        return fresh
