# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Verify a k3s cluster from its server: the server answers, all nodes are Ready, a pod on each answers."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import ssl
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.existing import (
    SERVER_DIR,
    foreign_k3s,
    has_server_data,
    our_unit,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.kubectl import ADMIN, Kubectl
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
    same_status,
    statuses,
    strays,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.http import opener

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

UNIT = "k3s.service"
READYZ = "https://127.0.0.1:6443/v1-k3s/readyz"
SERVER_CA = f"{SERVER_DIR}/tls/server-ca.crt"
POLL_SECONDS = 2.0
# Older messages are not the cause of a present problem.
JOURNAL_SINCE = "-15min"
# A service that restarts so often while it is watched will not come up.
GIVE_UP_RESTARTS = 3
_SHORT = "--request-timeout=10s"


class K3sServer:
    """The k3s server on this node, queried until a deadline."""

    def __init__(self, node: Node, agent_token: str, timeout: float) -> None:
        self._node = node
        self._kubectl = Kubectl(node, ADMIN)
        self._credentials = base64.b64encode(f"node:{agent_token}".encode()).decode()
        self._deadline = time.monotonic() + timeout
        self._restarts = self._unit()[1]

    def expired(self) -> bool:
        """Return whether the time is over."""
        return time.monotonic() >= self._deadline

    def wait(self) -> None:
        """Wait until the server's core is up.

        Raises:
            UserError: the service keeps failing, or the time is over.
        """
        while True:
            answer = self._readyz()
            if answer == "ok":
                return
            state, restarts = self._unit()
            if state in ("failed", "inactive") or restarts >= self._restarts + GIVE_UP_RESTARTS:
                raise UserError(f"{UNIT} is {state} after {restarts} restarts: {self._last_words()}")
            if self.expired():
                raise UserError(f"the server does not answer in time ({answer}): {self._last_words()}")
            time.sleep(POLL_SECONDS)

    def _readyz(self) -> str:
        request = urllib.request.Request(READYZ, headers={"Authorization": f"Basic {self._credentials}"})
        try:
            context = ssl.create_default_context(cafile=str(self._node.path(SERVER_CA)))
            with opener(urllib.request.HTTPSHandler(context=context)).open(request, timeout=5):
                return "ok"
        except urllib.error.HTTPError as error:
            # An older k3s has no such address and passes the query to the apiserver, which does not know us.
            unknown = error.code in (401, 403, 404)
            return "ok" if unknown and self.kubectl("get", "--raw=/readyz", _SHORT) else f"HTTP {error.code}"
        except OSError as error:
            return str(getattr(error, "reason", error))

    def _unit(self) -> tuple[str, int]:
        shown = self._node.units.show(UNIT, properties=("ActiveState", "NRestarts"))[UNIT]
        return shown.get("ActiveState", "unknown"), int(shown.get("NRestarts") or 0)

    def journal(self) -> str:
        """Return the end of the service's journal."""
        what = ("--unit", UNIT, "--since", JOURNAL_SINCE, "--lines", "1000")
        return self._node.run("journalctl", *what, "--output", "cat", "--no-pager").out

    def _last_words(self) -> str:
        journal = self.journal()
        last = journal.strip().splitlines()[-1:] or ["its journal is empty"]
        return fatal_cause(journal) or last[0][:300]

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl; return its output, empty if it failed."""
        outcome = self._kubectl.run(*arguments, stdin=stdin)
        return outcome.out if outcome.ok else ""

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return a listing, empty if there is none: what fails now may be answered at the next query."""
        try:
            return self._kubectl.get(*arguments)
        except UserError:
            return {}


def no_server(node: Node) -> str:
    """Return why there is no server of the role's on this node to verify, empty if there is one."""
    if our_unit(node, "k3s"):
        return ""
    if foreign := foreign_k3s(node):
        return f"{foreign} was installed by other means, not by picluster"
    return "no k3s server is installed on this node; run the whole site.yml, which fetches and installs it"


def await_nodes(server: K3sServer, expected: list[str], inventory: list[str]) -> tuple[dict[str, Verdict], list[str]]:
    """Wait until all expected nodes are Ready, or the time is over.

    Args:
        server: The server.
        expected: Names of the nodes that must be Ready.
        inventory: Names of further nodes that may belong to the cluster.

    Returns:
        The verdict on each expected node, with the cause from the server's journal if it is not Ready, and the strays.
    """
    while True:
        listing = server.get("nodes")
        verdicts = judge_nodes(listing, expected)
        if all(verdict.ready for verdict in verdicts.values()):
            return verdicts, strays(listing, [*expected, *inventory])
        if server.expired():
            return explain(server, verdicts), strays(listing, [*expected, *inventory])
        time.sleep(POLL_SECONDS)


def explain(server: K3sServer, verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Return the verdicts, each on a node that is not Ready with the cause from the server's journal."""
    journal = server.journal()
    result = dict(verdicts)
    for name, verdict in verdicts.items():
        if not verdict.ready:
            cause = journal_cause(journal, name, address_of(name)) or "see 'journalctl -u k3s-agent' on it"
            result[name] = Verdict(ready=False, detail=f"{verdict.detail}; {cause}", version=verdict.version)
    return result


def address_of(name: str) -> str:
    """Return the address that this machine knows for a node, empty if it knows none."""
    with contextlib.suppress(OSError):
        return socket.gethostbyname(name)
    return ""


def check_pods(server: K3sServer, nodes: list[str]) -> dict[str, str]:
    """Run a pod on every node, query each over the pod network, and remove them in any case.

    Returns:
        For each node an empty text if its pod answered, else why not.
    """
    remove = ("delete", "daemonset", "--selector", f"app={PROBE_NAME}", "--ignore-not-found", "--wait=false", _SHORT)
    # What a killed run left.
    server.kubectl(*remove)
    instance = secrets.token_hex(4)
    try:
        if not server.kubectl("apply", "--filename", "-", _SHORT, stdin=json.dumps(probe_manifest(instance))):
            return dict.fromkeys(nodes, "the server refused the DaemonSet of the pod check")
        answers: dict[str, str] = {}
        while True:
            pods = server.get("pods", "--selector", f"instance={instance}")
            addresses = pod_addresses(pods)
            for node in nodes:
                if answers.get(node, "?") and node in addresses:
                    answers[node] = query_pod(addresses[node], node)
            if all(answers.get(node, "?") == "" for node in nodes):
                return answers
            if server.expired():
                events = server.get("events", "--sort-by=.lastTimestamp")
                return {node: answers[node] if node in answers else pod_trouble(node, pods, events) for node in nodes}
            time.sleep(POLL_SECONDS)
    finally:
        server.kubectl(*remove)


def query_pod(address: str, node: str) -> str:
    """Query one pod for its node's name; return an empty text if the answer is right, else what was wrong."""
    host = f"[{address}]" if ":" in address else address
    try:
        with opener().open(f"http://{host}:{PROBE_PORT}/", timeout=5) as response:
            said = response.read(200).decode("utf-8", "replace").strip()
    except OSError as error:
        return f"its pod at {address} does not answer over the pod network ({getattr(error, 'reason', error)})"
    return "" if said == node else f"its pod at {address} answers as '{said}'"


def verify(node: Node, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer of module k3s_check, a failed one with the status of each node too."""
    expected = options["expected_nodes"]
    absent = no_server(node)
    if absent and options["optional"] and not foreign_k3s(node):
        return {"strays": [], "picluster_status": same_status(expected, "skipped", "no artifact")}
    if absent:
        status = same_status(expected, "failed", absent)
        return _failed(f"k3s cannot be verified: {absent}", strays=[], picluster_status=status)
    server = K3sServer(node, options["agent_token"], options["timeout"])
    try:
        server.wait()
    except UserError as error:
        status = same_status(expected, "failed", f"no server: {error}")
        return _failed(f"k3s is not up: {error}", picluster_status=status)
    verdicts, more = await_nodes(server, expected, options["inventory_nodes"])
    real = [name for name, verdict in verdicts.items() if verdict.ready and not verdict.is_stand_in]
    pods = check_pods(server, real) if options["pods"] and real else None
    if any((pods or {}).values()):
        # A node counts as Ready for 40 s after its last sign of life; by now it is known whether that was still true.
        verdicts = explain(server, judge_nodes(server.get("nodes"), expected))
    status = statuses(verdicts, pods, ", its pod answered" if pods is not None else ", pods not checked")
    if more:
        node.warn(
            f"Kubernetes has nodes that the inventory does not have: {', '.join(more)}; remove one that left with "
            "'kubectl delete node'"
        )
    result = {"strays": more, "picluster_status": status, "server_data": has_server_data(node)}
    unhealthy = [f"{entry['node']} {entry['detail']}" for entry in status if entry["state"] == "failed"]
    return _failed("not all nodes are healthy: " + "; ".join(unhealthy), **result) if unhealthy else result


def _failed(message: str, **answer: Any) -> dict[str, Any]:  # noqa: ANN401 - as JSON carries it
    return {"failed": True, "msg": message, **answer}
