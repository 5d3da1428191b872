# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's half of commit-confirm: a change becomes permanent only after a fresh login under the new state."""

from __future__ import annotations

import secrets
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.text import shortened

CONFIRM = "picluster.cloud.confirm"
# ssh uses the first value of an option, so these precede the user's arguments, whose other options (a jump host, a
# known_hosts file) stay in effect. A login through a master connection from before the change would prove nothing.
FRESH = (
    "-o ControlMaster=no -o ControlPath=none -o ConnectionAttempts=1 -o ServerAliveInterval=5 -o ServerAliveCountMax=2"
)
ATTEMPT = 10  # seconds for one login
PAUSE = 1.0  # seconds between two logins
REFUSALS = 3  # a key that is refused this often in a row is not accepted later either
PATIENCE = 60  # seconds after the window for the node to be reachable again
# What the node says of the change in the end (Rollback.fate), for the user.
OUTCOMES = {
    "rolled back": "the node has been rolled back",
    "superseded": "nothing was rolled back: another run's state is in effect; wait for it, then run the playbook again",
    "confirmed": "the change is permanent nevertheless, because a login succeeded before; run the playbook again",
}


class ConfirmedAction(ActionBase):  # type: ignore[misc]  # no types in ansible-core
    """Base of the action plugins whose module can lock the owner out; module and action have the same name.

    The module receives `confirm_token`. If its result contains `confirm` (what `Rollback.arm` returned, and `host` if
    the node has another address from now on), a fresh connection must run the confirm module.
    """

    _supports_check_mode = True
    _connection: Any
    _variables: dict[str, Any] | None

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result, after the new login that makes its change permanent."""
        super().run(tmp, task_vars)
        self._variables = task_vars
        arguments = {"confirm_token": secrets.token_hex(16), **self._task.args}
        try:
            result: dict[str, Any]
            try:
                result = self._execute_module(module_args=arguments, task_vars=task_vars)
                pending = result.pop("confirm", None)
            except AnsibleConnectionFailure:
                result, pending = {"changed": True}, self.lost_answer(arguments)
                if pending is None:
                    raise
            return result if pending is None else self._prove(result, pending)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)  # noqa: SLF001 - as ansible's own actions clean up

    def lost_answer(self, arguments: dict[str, Any]) -> dict[str, Any] | None:  # noqa: ARG002 - for subclasses
        """Return what to confirm after the connection broke during the change, None if that is a failure.

        A change of address can cut its own connection. Its action overrides this and returns name, token
        (`arguments['confirm_token']`), within and host.
        """
        return None

    def _prove(self, result: dict[str, Any], pending: dict[str, Any]) -> dict[str, Any]:
        """Confirm over a fresh connection; return the module's result, or the failure."""
        host = pending.get("host")
        end = time.monotonic() + pending["within"]
        order = {"name": pending["name"], "token": pending["token"]}
        answer, why = self._call_until(order, host, end)
        if answer and not answer.get("failed"):
            if host:
                # The master connection to the old address is dead.
                self._connection.reset()
            return result
        problem = f"no new login was possible after the change of {pending['name']}: {why}" if why else ""
        if answer:
            # The reason why the first attempts failed explains a late confirmation.
            problem = "; ".join(filter(None, [str(answer.get("msg", answer)), problem]))
        return self._roll_back(problem, order, end, moved=bool(host))

    def _roll_back(self, problem: str, order: dict[str, Any], end: float, *, moved: bool) -> dict[str, Any]:
        """Roll the node back; return the failure."""
        undo = order | {"state": "undone"}
        why = ""
        # Over the connection from before the change, if that still works: it is the fastest. If it does not, the usual
        # time to wait for an answer would be most of what is left.
        if "timeout" in self._connection.option_definitions:
            self._connection.set_option("timeout", ATTEMPT)
        back = None if moved else self._call(undo)[0]
        if not back or back.get("failed"):
            back, why = self._call_until(undo, None, end + PATIENCE, patient=True)
        self._connection.reset()
        answer = back or {}
        what = OUTCOMES.get(answer.get("fate", "")) or (
            f"the node does not report whether it has been rolled back ({answer.get('msg') or why}); it rolls back by "
            "itself, unless another run has changed the same since"
        )
        return {"failed": True, "changed": False, "msg": f"{problem}; {what}"}

    def _call(self, order: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """Run the confirm module over the current connection; return its answer, or None and the reason."""
        try:
            return self._execute_module(module_name=CONFIRM, module_args=order, task_vars=self._variables), ""
        except AnsibleError as error:
            return None, shortened(str(error)).rstrip(".:") or "the connection was lost"

    def _call_until(
        self, order: dict[str, Any], host: str | None, end: float, *, patient: bool = False
    ) -> tuple[dict[str, Any] | None, str]:
        """Open connections until the confirm module answers, or `end`; return its answer or None, and the last failure.

        Args:
            order: Arguments of the confirm module.
            host: Address to log in at, None for the usual one.
            end: Deadline by time.monotonic().
            patient: Keep trying after a refused key or a failed module: both may end with the rollback.
        """
        refused = 0
        why = ""
        former = self._connection
        try:
            while True:
                self._connection = self._fresh(former, host, end)
                answer, failure = self._call(order)
                self._connection.close()
                why = failure or why
                if answer and not (patient and answer.get("failed")):
                    return answer, why
                Display().vv(f"picluster: no new login yet: {why}")
                refused = refused + 1 if "permission denied" in failure.lower() else 0
                if (refused >= REFUSALS and not patient) or time.monotonic() + PAUSE >= end:
                    return answer, why
                time.sleep(PAUSE)
        finally:
            self._connection = former

    def _fresh(self, former: Any, host: str | None, end: float) -> Any:  # noqa: ANN401 - a connection plugin has no type
        """Return a new connection like `former`, to `host` if given; the two share nothing."""
        context = self._play_context.copy()
        if host:
            context.remote_addr = host
        fresh = self._shared_loader_obj.connection_loader.get(
            former.ansible_name,
            context,
            new_stdin=None,
            task_uuid=self._task._uuid,  # noqa: SLF001 - as the task executor makes its connection
            ansible_playbook_pid="",
        )
        options = {name: value for name, value in former.get_options().items() if value is not None}
        attempt = max(1, min(ATTEMPT, int(end - time.monotonic())))
        arguments = f"{FRESH} -o ConnectTimeout={attempt} {options.get('ssh_args', '')}".strip()
        changes: dict[str, Any] = {"ssh_args": arguments}
        changes |= {"timeout": attempt, "reconnection_retries": 0} | ({"host": host} if host else {})
        # Connections of other types share nothing between two instances, and have other options.
        options |= {name: value for name, value in changes.items() if name in former.option_definitions}
        fresh.set_options(direct=options)
        fresh.set_become_plugin(former.become)
        # The same node has the same temporary directory: it is cleaned up once.
        fresh._shell = former._shell  # noqa: SLF001
        return fresh
