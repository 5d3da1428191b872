# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What is known about each node at the end of a run, as data, as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.text import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

NOTHING = "-"
_LONGEST_DETAIL = 24


@dataclass(frozen=True)
class Failure:
    """A task that failed, or that found its node unreachable."""

    task: str
    reason: str
    state: str = "failed"


@dataclass
class NodeSummary:
    """The results of a run on one node."""

    ssh: str = NOTHING
    layers: dict[str, tuple[str, str]] = field(default_factory=dict)
    changed: int = 0
    tasks: int = 0
    failures: list[Failure] = field(default_factory=list)
    dead: bool = False
    failed: bool = False

    def state(self, layer: str) -> str:
        """Return a layer's state; on a node that does not answer no layer is ok."""
        state = self.layers.get(layer, (NOTHING, ""))[0]
        return NOTHING if self.dead and state in {"ok", "stand-in"} else state

    def cell(self, layer: str) -> str:
        """Return the table's text for a layer; a short reason for skipping it is part of it."""
        state, detail = self.state(layer), self.layers.get(layer, (NOTHING, ""))[1]
        return f"{state}: {detail}" if state == "skipped" and 0 < len(detail) <= _LONGEST_DETAIL else state


@dataclass
class Summary:
    """All nodes, in the inventory's order, and the answers of the cluster.

    Attributes:
        nodes: What is known about each node.
        columns: The columns that the layers declare, in their order.
        answers: Lines of text below the table.
    """

    nodes: dict[str, NodeSummary] = field(default_factory=dict)
    columns: Sequence[str] = ()
    answers: list[str] = field(default_factory=list)

    def collect(self, result: dict[str, Any]) -> None:
        """Collect `picluster_status` and `picluster_answer` from a task's result or from the items of its loop."""
        items = result.get("results")
        for one in [result, *(i for i in (items if isinstance(items, list) else []) if isinstance(i, dict))]:
            status = one.get("picluster_status")
            for entry in status if isinstance(status, list) else []:
                if isinstance(entry, dict) and entry.get("node") in self.nodes and entry.get("layer"):
                    node = self.nodes[str(entry["node"])]
                    node.layers[str(entry["layer"])] = (
                        str(entry.get("state", "failed")),
                        str(entry.get("detail") or ""),
                    )
            answer = one.get("picluster_answer")
            for line in answer if isinstance(answer, list) else [answer]:
                if line and str(line) not in self.answers:
                    self.answers.append(str(line))

    def layers(self) -> list[str]:
        """Return all reported layers, declared ones first."""
        seen = {layer for node in self.nodes.values() for layer in node.layers}
        return [layer for layer in self.columns if layer in seen] + sorted(seen - set(self.columns))

    def as_json(self) -> dict[str, Any]:
        """Return the summary for programs."""
        return {
            "nodes": {
                name: {
                    "ssh": node.ssh,
                    "layers": {layer: node.state(layer) for layer in self.layers()},
                    "details": {layer: detail for layer, (_state, detail) in node.layers.items()},
                    "changed": node.changed,
                    "tasks": node.tasks,
                    "failures": [asdict(failure) for failure in node.failures] if node.dead or node.failed else [],
                }
                for name, node in self.nodes.items()
            },
            "answers": self.answers,
        }


def reason(result: dict[str, Any]) -> str:
    """Return the cause of a failed or unreachable task in one line; of a loop, the first failed item counts."""
    items = result.get("results")
    if isinstance(items, list):
        for item in items:
            if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
                return reason(item)
    for key in ("msg", "stderr", "module_stderr", "stdout", "module_stdout"):
        text = shortened(str(result.get(key) or ""))
        if text and result.get("unreachable") and text.startswith("Timeout ("):
            # Whatever Ansible was waiting for, the node did not answer.
            return f"the node no longer answers ({text.rstrip(':')})"
        if text:
            return text
    # When an open connection is lost, ssh often reports no reason.
    return "the connection was lost" if result.get("unreachable") else "no reason given"


@dataclass(frozen=True)
class Style:
    """How to draw the table."""

    width: int = 100
    unicode: bool = False
    paint: Callable[[str, str], str] = lambda text, _color: text


def color(cell: str) -> str:
    """Return Ansible's name of the colour for a cell's text, or an empty text."""
    word = cell.partition(":")[0]
    return {"ok": "green", "failed": "red", "unreachable": "red", "skipped": "cyan", "stand-in": "yellow"}.get(word, "")


def table(summary: Summary, style: Style) -> list[str]:
    """Return the lines of the table, the failures and the answers."""
    layers = summary.layers()
    head = ["node", "ssh", *layers, "changed", "tasks"]
    rows = [
        [name, node.ssh, *(node.cell(layer) for layer in layers), str(node.changed), str(node.tasks)]
        for name, node in summary.nodes.items()
    ]
    widths = _fitted(
        [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))], [len(h) for h in head], style.width
    )
    bar, dash = ("│", "─") if style.unicode else ("|", "-")
    corners = (("┌", "┬", "┐"), ("├", "┼", "┤"), ("└", "┴", "┘")) if style.unicode else (("+", "+", "+"),) * 3
    rules = [left + middle.join(dash * (w + 2) for w in widths) + right for left, middle, right in corners]
    numbers = {len(head) - 1, len(head) - 2}

    def line(cells: Iterable[str], *, plain: bool) -> str:
        out = []
        for i, cell in enumerate(cells):
            text = cell if len(cell) <= widths[i] else cell[: widths[i] - 1] + ("…" if style.unicode else "~")
            padded = text.rjust(widths[i]) if i in numbers else text.ljust(widths[i])
            hue = "" if plain or i == 0 or i in numbers else color(cell)
            out.append(f" {style.paint(padded, hue) if hue else padded} ")
        return bar + bar.join(out) + bar

    lines = [rules[0], line(head, plain=True), rules[1], *(line(row, plain=False) for row in rows), rules[2]]
    lines += [style.paint(text, "red") for text in failures(summary)]
    return lines + summary.answers


def failures(summary: Summary) -> list[str]:
    """Return one line for each failed or unreachable node, and for each layer that failed without failing its node."""
    lines = []
    for name, node in summary.nodes.items():
        if node.dead or node.failed:
            lines += [f'{name} {failure.state} at "{failure.task}": {failure.reason}' for failure in node.failures]
        lines += [
            f"{name} {layer}: {detail or 'failed'}"
            for layer, (state, detail) in node.layers.items()
            if state == "failed" and not (detail and detail in {failure.reason for failure in node.failures})
        ]
    return lines


def _fitted(widths: list[int], smallest: list[int], limit: int) -> list[int]:
    """Return the column widths, the widest shortened until a row fits into `limit` or no column can be shortened."""
    widths = list(widths)
    while sum(widths) + 3 * len(widths) + 1 > limit:
        widest = max(range(len(widths)), key=lambda i: widths[i] - max(smallest[i], 4))
        if widths[widest] <= max(smallest[widest], 4):
            break
        widths[widest] -= 1
    return widths
