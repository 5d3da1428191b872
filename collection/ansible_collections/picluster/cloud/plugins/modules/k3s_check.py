#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Module k3s_check: ask a k3s server what a user would ask."""

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_check
short_description: Ask a k3s server what a user would ask
description:
  - Runs on the server. Waits until it answers, until all expected nodes are Ready, and until a pod on each has answered
    over the pod network; then removes the pods. Ends early when the service keeps failing.
  - Whether there is a server is judged by the unit on the node, not by what this run fetched.
  - A node that runs the lab's stand-in gets the state V(stand-in), never V(ok).
author: [The picluster authors]
options:
  optional:
    description: Whether the layer counts as skipped, instead of failed, where no server was ever installed.
    type: bool
    default: false
  expected_nodes:
    description: Names of the nodes that must be Ready.
    type: list
    elements: str
    required: true
  inventory_nodes:
    description: Names of all nodes that may belong to the cluster; O(expected_nodes) count as such anyway.
    type: list
    elements: str
    default: []
  agent_token:
    description: Secret with which agents join; opens the server's readiness answer.
    type: str
    default: ''
  timeout:
    description: Seconds until everything must be well.
    type: int
    default: 300
  pods:
    description: Whether to run a pod on every node.
    type: bool
    default: true
attributes:
  check_mode:
    support: none
    description: Skipped, because it asks the running cluster.
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Verify k3s
  picluster.cloud.k3s_check:
    expected_nodes: [red1, red2]
    inventory_nodes: [red1, red2, red3]
    agent_token: "{{ k3s_agent_token }}"
"""

RETURN = r"""
picluster_status:
  description: For each expected node its state and the cause if it is not well; also when the module fails.
  returned: always
  type: list
  elements: dict
  sample: [{node: red1, layer: k3s, state: ok, detail: 'Ready (v1.36.4+k3s1), its pod answered'}]
server_data:
  description: Whether the server keeps its cluster's data on this node.
  returned: when the server answered
  type: bool
strays:
  description:
    - Nodes that Kubernetes knows and the inventory does not. One that is merely dead, or left out of this run, is none.
  returned: when the server answered, or is not there
  type: list
  elements: str
"""

import base64
import contextlib
import json
import secrets
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.cluster import has_server_data
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.kubectl import ADMIN, program
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.owner import foreign_k3s, our_unit
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.verdict import (
    PROBE_NAME,
    PROBE_PORT,
    Verdict,
    fatal_cause,
    journal_cause,
    judge_nodes,
    pod_addresses,
    pod_trouble,
    probe_manifest,
    statuses,
    strays,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.http import opener

ROOT = Path("/")
READYZ = "https://127.0.0.1:6443/v1-k3s/readyz"
SERVER_CA = Path("/var/lib/rancher/k3s/server/tls/server-ca.crt")
POLL_SECONDS = 2.0
# Older trouble is no cause of what is wrong now.
JOURNAL_SINCE = "-15min"
# So many automatic restarts while we watch are a service that will not come up.
GIVE_UP_RESTARTS = 3


class NotWellError(Exception):
    """The server is not up; the text says why."""


class Server:
    """Asks the k3s server on this machine."""

    def __init__(self, agent_token: str, deadline: float) -> None:
        self._credentials = base64.b64encode(f"node:{agent_token}".encode()).decode()
        self._deadline = deadline
        self._restarts = self._unit()[1]

    def expired(self) -> bool:
        """Tell whether the time is over."""
        return time.monotonic() >= self._deadline

    def wait(self) -> None:
        """Wait until the server's core is up.

        Raises:
            NotWellError: When the service keeps failing or the time is over.
        """
        while True:
            answer = self._readyz()
            if answer == "ok":
                return
            state, restarts = self._unit()
            if state in ("failed", "inactive") or restarts >= self._restarts + GIVE_UP_RESTARTS:
                raise NotWellError(f"k3s.service is {state} after {restarts} restarts: {self._last_words()}")
            if self.expired():
                raise NotWellError(f"the server does not answer in time ({answer}): {self._last_words()}")
            time.sleep(POLL_SECONDS)

    def _readyz(self) -> str:
        request = urllib.request.Request(READYZ, headers={"Authorization": f"Basic {self._credentials}"})
        try:
            handler = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(SERVER_CA)))
            with opener(handler).open(request, timeout=5):
                return "ok"
        except urllib.error.HTTPError as error:
            # An older k3s has no such address and hands the question to the apiserver, which does not know us.
            unknown = error.code in (401, 403, 404)
            return "ok" if unknown and self.kubectl("get", "--raw=/readyz") else f"HTTP {error.code}"
        except (OSError, ssl.SSLError) as error:
            return str(getattr(error, "reason", error))

    @staticmethod
    def _unit() -> tuple[str, int]:
        names = "ActiveState,NRestarts"
        shown = _run("systemctl", "show", "--property", names, "k3s.service")
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return values.get("ActiveState", "unknown"), int(values.get("NRestarts") or 0)

    @staticmethod
    def journal() -> str:
        """Return the end of the service's journal."""
        what = ("--unit", "k3s.service", "--since", JOURNAL_SINCE, "--lines", "1000")
        return _run("journalctl", *what, "--output", "cat", "--no-pager")

    def _last_words(self) -> str:
        journal = self.journal()
        last = journal.strip().splitlines()[-1:] or ["its journal is empty"]
        return fatal_cause(journal) or last[0][:300]

    @staticmethod
    def kubectl(*arguments: str, given: str = "") -> str:
        """Run kubectl; returns its output, empty on failure."""
        # Never root's own idea of a cluster.
        return _run(*program(), f"--kubeconfig={ADMIN}", "--request-timeout=10s", *arguments, given=given)

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return a listing, empty if there is none."""
        with contextlib.suppress(ValueError):
            loaded = json.loads(self.kubectl("get", *arguments, "--output", "json") or "{}")
            return loaded if isinstance(loaded, dict) else {}
        return {}


def _run(*command: str, given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def no_server(root: Path) -> str:
    """Say why there is no server of ours on this node to ask; empty if there is one."""
    if our_unit(root, "k3s"):
        return ""
    if foreign := foreign_k3s(root):
        return f"{foreign} was installed by other means, not by picluster"
    return "no k3s server is installed on this node; run the whole site.yml, which fetches and installs it"


def await_nodes(server: Server, expected: list[str], inventory: list[str]) -> tuple[dict[str, Verdict], list[str]]:
    """Wait until all expected nodes are Ready, or the time is over.

    Args:
        server: Whom to ask.
        expected: Who must be Ready.
        inventory: Who may be there, too.

    Returns:
        The verdict on each, with the cause from the server's journal for those that are not, and the strays.
    """
    while True:
        listing = server.get("nodes")
        verdicts = judge_nodes(listing, expected)
        if all(verdict.ready for verdict in verdicts.values()):
            return verdicts, strays(listing, [*expected, *inventory])
        if server.expired():
            break
        time.sleep(POLL_SECONDS)
    return explained(server, verdicts), strays(listing, [*expected, *inventory])


def explained(server: Server, verdicts: dict[str, Verdict]) -> dict[str, Verdict]:
    """Add to each node that is not Ready what the server's journal says of it."""
    journal = server.journal()
    result = dict(verdicts)
    for name, verdict in verdicts.items():
        if not verdict.ready:
            cause = journal_cause(journal, name, address_of(name)) or "see 'journalctl -u k3s-agent' on it"
            result[name] = Verdict(ready=False, detail=f"{verdict.detail}; {cause}", version=verdict.version)
    return result


def address_of(name: str) -> str:
    """Return the address under which this machine knows a node, empty if it does not."""
    with contextlib.suppress(OSError):
        return socket.gethostbyname(name)
    return ""


def ask_pods(server: Server, nodes: list[str]) -> dict[str, str]:
    """Run a pod on every node and ask each over the pod network; always cleans up.

    Returns:
        For each node an empty text if its pod answered, else why not.
    """
    # What a killed run left.
    remove = ("delete", "daemonset", "--selector", f"app={PROBE_NAME}", "--ignore-not-found", "--wait=false")
    server.kubectl(*remove)
    instance = secrets.token_hex(4)
    selector = ("--selector", f"instance={instance}")
    try:
        if not server.kubectl("apply", "--filename", "-", given=json.dumps(probe_manifest(instance))):
            return dict.fromkeys(nodes, "the server did not take the probe's DaemonSet")
        answers: dict[str, str] = {}
        while True:
            pods = server.get("pods", *selector)
            addresses = pod_addresses(pods)
            for node in nodes:
                if answers.get(node, "?") and node in addresses:
                    answers[node] = ask_pod(addresses[node], node)
            if all(answers.get(node, "?") == "" for node in nodes):
                return answers
            if server.expired():
                events = server.get("events", "--sort-by=.lastTimestamp")
                return {node: answers[node] if node in answers else pod_trouble(node, pods, events) for node in nodes}
            time.sleep(POLL_SECONDS)
    finally:
        server.kubectl(*remove)


def ask_pod(address: str, node: str) -> str:
    """Ask one pod for its node's name; returns an empty text if the answer is right, else what was wrong."""
    host = f"[{address}]" if ":" in address else address
    try:
        with opener().open(f"http://{host}:{PROBE_PORT}/", timeout=5) as response:
            said = response.read(200).decode("utf-8", "replace").strip()
    except OSError as error:
        return f"its pod at {address} does not answer over the pod network ({getattr(error, 'reason', error)})"
    return "" if said == node else f"its pod at {address} answers as '{said}'"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "optional": {"type": "bool", "default": False},
            "expected_nodes": {"type": "list", "elements": "str", "required": True},
            "inventory_nodes": {"type": "list", "elements": "str", "default": []},
            "agent_token": {"type": "str", "default": "", "no_log": True},
            "timeout": {"type": "int", "default": 300},
            "pods": {"type": "bool", "default": True},
        },
        supports_check_mode=False,
    )
    params, expected = module.params, module.params["expected_nodes"]
    base = {"layer": "k3s"}
    absent = no_server(ROOT)
    if absent and params["optional"] and not foreign_k3s(ROOT):
        skipped = [base | {"node": name, "state": "skipped", "detail": "no artifact"} for name in expected]
        module.exit_json(changed=False, strays=[], picluster_status=skipped)
    if absent:
        failed = [base | {"node": name, "state": "failed", "detail": absent} for name in expected]
        module.fail_json(msg=f"k3s cannot be verified: {absent}", strays=[], picluster_status=failed)

    server = Server(params["agent_token"], time.monotonic() + params["timeout"])
    try:
        server.wait()
    except NotWellError as error:
        failed = [base | {"node": name, "state": "failed", "detail": f"no server: {error}"} for name in expected]
        module.fail_json(msg=f"k3s is not up: {error}", picluster_status=failed)
    verdicts, more = await_nodes(server, expected, params["inventory_nodes"])
    real = [name for name, verdict in verdicts.items() if verdict.ready and not verdict.is_stand_in]
    pods = ask_pods(server, real) if params["pods"] and real else None
    if any((pods or {}).values()):
        # A node counts as Ready for 40 s after its last sign of life; by now it is known whether that was still true.
        verdicts = explained(server, judge_nodes(server.get("nodes"), expected))
    status = statuses(verdicts, pods, ", its pod answered" if pods is not None else ", pods not asked")
    result = {
        "changed": False,
        "strays": more,
        "picluster_status": status,
        "server_data": has_server_data(ROOT),
    }
    if more:
        names = ", ".join(more)
        module.warn(
            f"Kubernetes knows nodes that the inventory does not: {names}; 'kubectl delete node' drops one that left"
        )
    unwell = [f"{entry['node']} {entry['detail']}" for entry in status if entry["state"] == "failed"]
    if unwell:
        module.fail_json(msg="not all nodes are well: " + "; ".join(unwell), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
