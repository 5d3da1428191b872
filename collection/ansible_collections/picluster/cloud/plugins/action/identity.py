# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's half of picluster.cloud.identity: its own time, and nodes that are copies of each other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.picluster.cloud.plugins.module_utils.identity.clock import certainly_off
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.identity.clones import KnownHosts, claim, foreign_keys
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

MODULE = "picluster.cloud.identity"
HOST_KEYS = "picluster.cloud.host_keys"
# 2026-11-01: this collection is not older, so an earlier clock is wrong.
NOT_BEFORE = 1793491200.0


def joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the result of two calls: the second's answer, with the changes of both."""
    return {
        **first,
        **second,
        "changed": bool(first.get("changed") or second.get("changed")),
        **{name: [*first.get(name, []), *second.get(name, [])] for name in ("diff", "warnings")},
    }


class ActionModule(ActionBase):  # type: ignore[misc]  # no types in ansible-core
    """The action behind picluster.cloud.identity."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's answer, after a copied node got a machine-id and host keys of its own."""
        super().run(tmp, task_vars)
        now = time.time()
        if now < NOT_BEFORE:
            shown, least = (time.strftime("%Y-%m-%d", time.gmtime(when)) for when in (now, NOT_BEFORE))
            raise AnsibleActionFail(
                f"the controller's clock is wrong: it shows {shown}, and picluster was released after {least}; set it "
                "before running the playbook"
            )
        try:
            return self._converge(task_vars or {})
        except UserError as error:
            raise AnsibleActionFail(str(error)) from error
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)  # noqa: SLF001 - as ansible's own actions clean up

    def _converge(self, variables: dict[str, Any]) -> dict[str, Any]:
        asked = time.time()
        result = self._call(MODULE, variables, {**self._task.args, "controller_time": asked})
        answered, reading = time.time(), result.get("clock_reading")
        if reading and not result.get("failed"):
            right = {"controller_time": (asked + answered) / 2, "controller_uptime": reading["uptime"]}
            is_off = certainly_off(reading["clock"], asked, answered)
            result = self._call(MODULE, variables, {**self._task.args, **(right if is_off else {})})
        folder = variables.get("inventory_dir")
        if result.get("failed") or not folder:
            return result
        node, peers = str(variables["inventory_hostname"]), [str(host) for host in variables["groups"]["all"]]
        owner = self._claim(Path(folder), node, peers, result)
        if owner:
            again = {**self._task.args, "taken_machine_id": result["machine_id"]}
            # Only the first call checked the clock.
            clock = {name: result[name] for name in ("clock_off", "clock_set")}
            result = joined(result, self._call(MODULE, variables, again)) | clock
            if result.get("failed"):
                return result
            self._claim(Path(folder), node, peers, result)
        return self._host_keys(KnownHosts(Path(folder)), node, peers, result, variables)

    def _call(self, module: str, variables: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_name=module, module_args=arguments, task_vars=variables)
        return answer

    def _claim(self, folder: Path, node: str, peers: list[str], result: dict[str, Any]) -> str:
        """Record the node's machine-id; return which other node has it, empty if none has."""
        machine_id, mac = result["machine_id"], result["mac"]
        record = Seen(folder)
        known = record.nodes()
        before = dict(known.get(node, {}))
        owner = claim(known, node, peers, machine_id, mac)
        # Usually it is recorded, and two hundred nodes need not wait for each other's lock.
        if owner or self._task.check_mode or known[node] == before:
            return owner
        try:
            with record.edit() as nodes:
                return claim(nodes, node, peers, machine_id, mac)
        except OSError as error:
            warning = f"the record of {node} cannot be written: {error}; a copy of its card may not be recognized"
            result["warnings"] = [*result.get("warnings", []), warning]
            return ""

    def _host_keys(
        self, known: KnownHosts, node: str, peers: list[str], result: dict[str, Any], variables: dict[str, Any]
    ) -> dict[str, Any]:
        """Activate host keys of the node's own, so that the controller knows one of its keys at every moment."""
        foreign = foreign_keys(known.text(), node, peers)
        if not foreign:
            return result
        answer = self._call(HOST_KEYS, variables, {"state": "prepared", "foreign": list(foreign)})
        result = joined(result, answer)
        new = result.pop("keys", [])
        if answer.get("failed") or self._task.check_mode:
            return result
        try:
            known.add(node, new)
            answer = self._call(HOST_KEYS, variables, {"state": "active"})
            result = joined(result, answer)
            if not answer.get("failed"):
                known.forget(node, [key for key in foreign if key not in new])
        except OSError as error:
            return {**result, "failed": True, "msg": f"{known.path} cannot be written: {error.strerror}"}
        return {**result, "changed": True, "new_host_keys": new}
