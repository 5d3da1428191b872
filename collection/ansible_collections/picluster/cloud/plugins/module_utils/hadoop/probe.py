# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Query the state of a Hadoop cluster over HTTP, as a JVM for each query would cost seconds. Only reads."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.http import opener

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANSWER_SECONDS = 10.0
# By layer: its master, its workers, and their port.
MASTER = {"hdfs": "NameNode", "yarn": "ResourceManager"}
WORKER = {"hdfs": "DataNode", "yarn": "NodeManager"}
PORTS = {"hdfs": 9864, "yarn": 8042}
# After that time the NameNode gives a DataNode no new blocks (dfs.namenode.stale.datanode.interval).
STALE_SECONDS = 30
CONNECT_SECONDS = 3.0
PROBES = 32


class NoAnswerError(UserError):
    """A service does not answer, or not in its own format."""


@dataclass
class HadoopState:
    """The state of the cluster, by layer.

    Attributes:
        why: The reason why the whole layer does not work, empty if it does.
        there: The workers that take part, with a detail of each.
        absent: The workers that the master knows and does not use, with the reason.
        unsettled: Nodes that are gone without the master's knowledge yet; a job may still wait for them.
    """

    why: dict[str, str] = field(default_factory=lambda: {"hdfs": "", "yarn": ""})
    there: dict[str, dict[str, str]] = field(default_factory=lambda: {"hdfs": {}, "yarn": {}})
    absent: dict[str, dict[str, str]] = field(default_factory=lambda: {"hdfs": {}, "yarn": {}})
    unsettled: set[str] = field(default_factory=set)

    def missing(self, expected: Iterable[str]) -> dict[str, list[str]]:
        """Return the expected workers that do not take part, by layer."""
        return {layer: [name for name in expected if name not in there] for layer, there in self.there.items()}

    def ready(self, expected: Iterable[str]) -> bool:
        """Return whether both layers work, no worker is missing and none is about to be found missing."""
        return not any(self.why.values()) and not any(self.missing(list(expected)).values()) and not self.unsettled


def fetch(url: str) -> dict[str, Any]:
    """Return the JSON object at an address; raise NoAnswerError if there is none."""
    try:
        with opener().open(url, timeout=ANSWER_SECONDS) as response:
            answer = json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise NoAnswerError(f"HTTP {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # no connection, no HTTP, no JSON
        raise NoAnswerError(str(getattr(error, "reason", error))) from error
    if not isinstance(answer, dict):
        raise NoAnswerError("the answer is not a JSON object")
    return answer


def read_namenode(state: HadoopState, answer: dict[str, Any]) -> None:
    """Read the NameNode's bean NameNodeInfo (/jmx)."""
    beans = answer.get("beans") or []
    if not beans:
        state.why["hdfs"] = "the NameNode is still loading its image"
        return
    if beans[0].get("Safemode"):
        state.why["hdfs"] = f"the NameNode is in safe mode: {str(beans[0]['Safemode']).split('.')[0]}"
    for name, node in json.loads(beans[0].get("LiveNodes") or "{}").items():
        silent = int(node.get("lastContact") or 0)
        if silent > STALE_SECONDS:
            state.absent["hdfs"][name.partition(":")[0]] = f"the NameNode has not heard of it for {silent} s"
        elif node.get("adminState") == "In Service":
            free = int(node.get("remaining") or 0)
            state.there["hdfs"][name.partition(":")[0]] = f"DataNode, {free / (1 << 30):.0f} GB free"
        else:
            state.absent["hdfs"][name.partition(":")[0]] = str(node.get("adminState"))
    for name in json.loads(beans[0].get("DeadNodes") or "{}"):
        state.absent["hdfs"][name.partition(":")[0]] = "the NameNode has not heard of it for a long time"


def read_resourcemanager(state: HadoopState, answer: dict[str, Any]) -> None:
    """Read the ResourceManager's list of nodes (/ws/v1/cluster/nodes)."""
    for node in (answer.get("nodes") or {}).get("node") or []:
        name = str(node.get("nodeHostName"))
        if node.get("state") == "RUNNING":
            memory = int(node.get("availMemoryMB") or 0) + int(node.get("usedMemoryMB") or 0)
            state.there["yarn"][name] = f"NodeManager, {memory} MB"
            state.absent["yarn"].pop(name, None)
        elif name not in state.there["yarn"]:
            report = f": {node['healthReport']}" if node.get("healthReport") else ""
            state.absent["yarn"][name] = f"the ResourceManager reports it {node.get('state')}{report}"


def query_cluster(master: str, user: str) -> HadoopState:
    """Return what NameNode and ResourceManager report, queried once."""
    state = HadoopState()
    try:
        read_namenode(state, fetch(f"http://{master}:9870/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo"))
        if not state.why["hdfs"]:
            home = f"http://{master}:9870/webhdfs/v1/user/{urllib.parse.quote(user)}?op=GETFILESTATUS&user.name="
            status = fetch(home + urllib.parse.quote(user)).get("FileStatus") or {}
            if status.get("owner") != user:
                state.why["hdfs"] = f"/user/{user} does not belong to {user} yet"
    except NoAnswerError as reason:
        silent = f"the NameNode does not answer ({reason})"
        state.why["hdfs"] = f"/user/{user} does not exist yet" if "404" in str(reason) else silent
    try:
        read_resourcemanager(state, fetch(f"http://{master}:8088/ws/v1/cluster/nodes"))
    except NoAnswerError as reason:
        state.why["yarn"] = f"the ResourceManager does not answer ({reason})"
    return state


def find_gone(state: HadoopState, expected: Iterable[str]) -> None:
    """Connect to every worker that the masters use; an expected one that does not answer is absent.

    The masters notice late that a worker is gone: HDFS after 30 s, YARN after 2 minutes. A worker that is not expected
    and does not answer is unsettled until they do.
    """

    def closed(worker: tuple[str, str]) -> bool:
        try:
            socket.create_connection((worker[1], PORTS[worker[0]]), timeout=CONNECT_SECONDS).close()
        except OSError:
            return True
        return False

    workers = [(layer, name) for layer, there in state.there.items() for name in there]
    needed = set(expected)
    with ThreadPoolExecutor(PROBES) as pool:
        answers = zip(workers, pool.map(closed, workers))  # noqa: B905 - Python 3.9 knows no strict
        for (layer, name), gone in answers:
            if gone and name in needed:
                del state.there[layer][name]
                state.absent[layer][name] = (
                    f"its {WORKER[layer]} has registered but does not answer on port {PORTS[layer]}"
                )
            elif gone:
                state.unsettled.add(name)


def why_missing(node: str, layer: str, state: HadoopState) -> str:
    """Return why a worker does not take part, found out from outside."""
    known = state.absent[layer].get(node)
    if known:
        return known
    try:
        with socket.create_connection((node, PORTS[layer]), timeout=ANSWER_SECONDS):
            return f"its {WORKER[layer]} is up but has not registered"
    except ConnectionRefusedError:
        return f"the node is up, but no {WORKER[layer]} listens on port {PORTS[layer]}"
    except OSError as error:
        return f"the node does not answer ({error})"


def describe(state: HadoopState, master: str, expected: list[str]) -> list[dict[str, str]]:
    """Return one row for each node and layer, for the table at the end of a run."""
    rows = []
    for layer, there in state.there.items():
        for node in dict.fromkeys([master, *expected]):
            bad = state.why[layer] if node == master else ""
            if not bad and node in expected and node not in there:
                bad = why_missing(node, layer, state)
            head = [f"{MASTER[layer]}, {len(there)} {WORKER[layer]}s"] if node == master else []
            detail = bad or "; ".join([*head, *([there[node]] if node in expected else [])])
            rows.append({"node": node, "layer": layer, "state": "failed" if bad else "ok", "detail": detail})
    return rows


def problems(node: str, daemons: Iterable[str], units: Mapping[str, str], state: HadoopState) -> list[str]:
    """Return what is wrong with a node's daemons, without repetitions; `units` is systemd's state of each daemon."""
    found = []
    for daemon in daemons:
        if units.get(daemon) != "active":
            found.append(f"its {daemon} is {units.get(daemon) or 'unknown to systemd'}")
            continue
        for layer, why in state.why.items():
            works = daemon == WORKER[layer].lower()
            if why and (works or daemon == MASTER[layer].lower()):
                found.append(why)
            elif works and node not in state.there[layer]:
                found.append(state.absent[layer].get(node) or f"its {daemon} has not registered")
    return list(dict.fromkeys(found))
