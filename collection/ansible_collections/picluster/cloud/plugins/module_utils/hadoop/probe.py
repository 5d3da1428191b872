# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Asks a Hadoop cluster over HTTP how it is, as a JVM for each question would cost seconds.

And counts words by other means than Hadoop.
"""

from __future__ import annotations

import json
import math
import re
import socket
import urllib.error
import urllib.parse
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.http import opener

if TYPE_CHECKING:
    from collections.abc import Iterable

ANSWER_SECONDS = 10.0
PORTS = {"hdfs": 9864, "yarn": 8042}
ROLE = {"hdfs": "DataNode", "yarn": "NodeManager"}
GB = 1 << 30
# From then on the NameNode gives a DataNode no new blocks (dfs.namenode.stale.datanode.interval).
STALE_SECONDS = 30
CONNECT_SECONDS = 3.0
PROBES = 32


class NoAnswerError(Exception):
    """Somebody does not answer, or not what is wanted; the message says who and what."""


@dataclass
class State:
    """How the cluster is.

    Attributes:
        why: for each layer what keeps the whole layer from working, empty if nothing does.
        there: for each layer the workers that take part, with a word on each.
        absent: for each layer workers that the master knows and does not use, with the reason.
        unsettled: nodes that are gone, which the master does not know yet; a job may still wait for them.
    """

    why: dict[str, str] = field(default_factory=lambda: {"hdfs": "", "yarn": ""})
    there: dict[str, dict[str, str]] = field(default_factory=lambda: {"hdfs": {}, "yarn": {}})
    absent: dict[str, dict[str, str]] = field(default_factory=lambda: {"hdfs": {}, "yarn": {}})

    unsettled: set[str] = field(default_factory=set)

    def missing(self, expected: Iterable[str]) -> dict[str, list[str]]:
        """The expected workers that do not take part, by layer."""
        return {layer: [name for name in expected if name not in there] for layer, there in self.there.items()}

    def ready(self, expected: Iterable[str]) -> bool:
        """Whether both layers work, nobody is missing and nobody is about to be found missing."""
        return not any(self.why.values()) and not any(self.missing(list(expected)).values()) and not self.unsettled


def fetch(url: str) -> dict[str, Any]:
    """Gets a JSON object.

    Raises:
        NoAnswerError: nobody there, or the answer is no JSON object.
    """
    try:
        with opener().open(url, timeout=ANSWER_SECONDS) as response:
            answer = json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise NoAnswerError(f"HTTP {error.code}") from error
    except (OSError, ValueError) as error:
        raise NoAnswerError(str(getattr(error, "reason", error))) from error
    if not isinstance(answer, dict):
        raise NoAnswerError("an answer that is no JSON object")
    return answer


def read_namenode(state: State, answer: dict[str, Any]) -> None:
    """Reads the NameNode's bean NameNodeInfo (/jmx)."""
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
            state.there["hdfs"][name.partition(":")[0]] = f"DataNode, {free / GB:.0f} GB free"
        else:
            state.absent["hdfs"][name.partition(":")[0]] = str(node.get("adminState"))
    for name in json.loads(beans[0].get("DeadNodes") or "{}"):
        state.absent["hdfs"][name.partition(":")[0]] = "the NameNode has not heard of it for a long time"


def read_resourcemanager(state: State, answer: dict[str, Any]) -> None:
    """Reads the ResourceManager's list of nodes (/ws/v1/cluster/nodes)."""
    for node in (answer.get("nodes") or {}).get("node") or []:
        name = str(node.get("nodeHostName"))
        if node.get("state") == "RUNNING":
            memory = int(node.get("availMemoryMB") or 0) + int(node.get("usedMemoryMB") or 0)
            state.there["yarn"][name] = f"NodeManager, {memory} MB"
            state.absent["yarn"].pop(name, None)
        elif name not in state.there["yarn"]:
            report = f": {node['healthReport']}" if node.get("healthReport") else ""
            state.absent["yarn"][name] = f"the ResourceManager calls it {node.get('state')}{report}"


def ask(master: str, user: str) -> State:
    """Asks NameNode and ResourceManager once."""
    state = State()
    try:
        read_namenode(state, fetch(f"http://{master}:9870/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo"))
        if not state.why["hdfs"]:
            home = f"http://{master}:9870/webhdfs/v1/user/{urllib.parse.quote(user)}?op=GETFILESTATUS&user.name="
            status = fetch(home + urllib.parse.quote(user)).get("FileStatus") or {}
            if status.get("owner") != user:
                state.why["hdfs"] = f"/user/{user} is not yet {user}'s"
    except NoAnswerError as reason:
        missing_home = "404" in str(reason)
        state.why["hdfs"] = (
            f"/user/{user} is not made yet" if missing_home else f"the NameNode does not answer ({reason})"
        )
    try:
        read_resourcemanager(state, fetch(f"http://{master}:8088/ws/v1/cluster/nodes"))
    except NoAnswerError as reason:
        state.why["yarn"] = f"the ResourceManager does not answer ({reason})"
    return state


def find_gone(state: State, expected: Iterable[str]) -> None:
    """Knocks at every node that the masters count on; they learn late of one that is gone.

    HDFS after 30 s, YARN after 2 minutes.

    A node that does not open takes no part: an expected one is absent, of any other it is to be waited that the masters
    notice.
    """

    def closed(worker: tuple[str, str]) -> bool:
        try:
            socket.create_connection((worker[1], PORTS[worker[0]]), timeout=CONNECT_SECONDS).close()
        except OSError:
            return True
        return False

    workers = [(layer, name) for layer, there in state.there.items() for name in there]
    wanted = set(expected)
    with ThreadPoolExecutor(PROBES) as pool:
        for (layer, name), gone in zip(workers, pool.map(closed, workers), strict=True):
            if gone and name in wanted:
                del state.there[layer][name]
                state.absent[layer][name] = (
                    f"its {ROLE[layer]} has registered but does not answer on port {PORTS[layer]}"
                )
            elif gone:
                state.unsettled.add(name)


def why_missing(node: str, layer: str, state: State) -> str:
    """Finds out from outside why a worker does not take part."""
    known = state.absent[layer].get(node)
    if known:
        return known
    try:
        with socket.create_connection((node, PORTS[layer]), timeout=ANSWER_SECONDS):
            return f"its {ROLE[layer]} is up but has not registered"
    except ConnectionRefusedError:
        return f"the node is up, but no {ROLE[layer]} listens on port {PORTS[layer]}"
    except OSError as error:
        return f"the node does not answer ({error})"


def describe(state: State, master: str, expected: list[str]) -> list[dict[str, str]]:
    """One line for each node and layer, for the table at the end of a run."""
    rows = []
    masters = {"hdfs": ("NameNode", "DataNodes"), "yarn": ("ResourceManager", "NodeManagers")}
    for layer, (head, many) in masters.items():
        why = state.why[layer]
        detail = why or f"{head}, {len(state.there[layer])} {many}"
        rows.append({"node": master, "layer": layer, "state": "failed" if why else "ok", "detail": detail})
        for node in expected:
            there = state.there[layer].get(node)
            if node == master and (there or why):
                rows[-1]["detail"] += "" if why else f"; {there}"
                continue
            bad = why_missing(node, layer, state) if there is None else ""
            if node == master:
                rows[-1].update(state="failed", detail=bad)
            else:
                rows.append(
                    {"node": node, "layer": layer, "state": "failed" if bad else "ok", "detail": bad or there or ""}
                )
    return rows


def count_words(texts: Iterable[bytes]) -> Counter[bytes]:
    """Counts words as TokenCounterMapper does, by Python's own means.

    Hadoop reads lines ending in CR, LF or CRLF without a leading byte order mark, decodes them as UTF-8 (what is none
    becomes U+FFFD) and splits at the blanks of Java's StringTokenizer: space, tab, LF, CR, FF.
    """
    counts: Counter[bytes] = Counter()
    for text in texts:
        clean = text.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
        counts.update(word.encode() for word in re.split(r"[ \t\n\r\f]+", clean) if word)
    return counts


def parse_counts(parts: Iterable[bytes]) -> Counter[bytes]:
    """Reads the job's output: word, tab, count.

    Raises:
        NoAnswerError: a line is none of these.
    """
    counts: Counter[bytes] = Counter()
    for part in parts:
        for line in part.split(b"\n"):
            word, tab, number = line.rpartition(b"\t")
            if not line:
                continue
            if not tab or not number.isdigit():
                raise NoAnswerError(f"the job wrote {line[:60]!r} where a word and its count were wanted")
            counts[word] += int(number)
    return counts


def compare(ours: Counter[bytes], theirs: Counter[bytes]) -> str:
    """Says how two counts differ, empty if they do not."""
    differing = sorted(word for word in ours.keys() | theirs.keys() if ours[word] != theirs[word])
    if not differing:
        return ""
    word = differing[0]
    return (
        f"{len(differing)} words have other counts, the first is {word.decode(errors='replace')!r}: "
        f"MapReduce {theirs[word]}, independent count {ours[word]}"
    )


def job_properties(name: str, source: str, target: str, size: int, tasks: int) -> dict[str, str]:
    """WordCount out of classes that every MapReduce carries (the jar of examples is not on Maven Central).

    Mapper, combiner and reducer are those of the example WordCount under their library names. Small files are combined,
    as otherwise each would cost a JVM.
    """
    library = "org.apache.hadoop.mapreduce.lib"
    return {
        "mapreduce.job.name": name,
        "mapreduce.input.fileinputformat.inputdir": source,
        "mapreduce.output.fileoutputformat.outputdir": target,
        "mapreduce.job.inputformat.class": f"{library}.input.CombineTextInputFormat",
        "mapreduce.input.fileinputformat.split.maxsize": str(max(1, math.ceil(size / tasks))),
        "mapreduce.job.map.class": f"{library}.map.TokenCounterMapper",
        "mapreduce.job.combine.class": f"{library}.reduce.IntSumReducer",
        "mapreduce.job.reduce.class": f"{library}.reduce.IntSumReducer",
        "mapreduce.job.output.key.class": "org.apache.hadoop.io.Text",
        "mapreduce.job.output.value.class": "org.apache.hadoop.io.IntWritable",
        "mapreduce.job.reduces": "1",
        # Spread over the workers, not folded into the master's own process.
        "mapreduce.job.ubertask.enable": "false",
    }
