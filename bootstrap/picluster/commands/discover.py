"""picluster discover: find the nodes that are switched on, and record address, board and host key of each."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from picluster import discover
from picluster.commands import EXIT_FAILED, add_command, add_dry_run, add_json, changes, nodes, number
from picluster.discover import leases, verdict
from picluster.discover.login import Access, require_client
from picluster.errors import PiclusterError
from picluster.inventory import edit as inventory_edit
from picluster.inventory import known_hosts, names

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from picluster.commands import Subparsers
    from picluster.console.bars import Board
    from picluster.console.report import Report
    from picluster.discover.login import Login
    from picluster.discover.verdict import Findings, NodeResult
    from picluster.inventory.edit import Cluster, Edit

# Largest network that is scanned by default: a /20. At 160 silent addresses in 2 s that takes under a minute.
_DEFAULT_MAX = 1 << 12
_MAX = 1 << 16
_TIMEOUT_S = 2.0
_TIMEOUTS_S = (0.1, 60.0)
# A login takes several round trips and CPU time of a small board.
_LOGIN_TIMES = 5


@dataclass(frozen=True)
class DiscoverRequest:
    """What the options say.

    Without nets those of the cluster are scanned; without leases (None) the usual files are searched.
    """

    folder: Path
    nets: Sequence[IPv4Network]
    leases: Sequence[leases.Lease] | None
    timeout_s: float
    dry_run: bool


def add_to(commands: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "discover",
        "find the nodes that are switched on, at any address, and record their boards and host keys",
        "The exit code is 0 if every node of the inventory was found, else 1.",
    )
    parser.add_argument("cluster", metavar="CLUSTER", help="name of the cluster, such as red")
    nodes.add_inventories(parser)
    parser.add_argument(
        "--net",
        action="append",
        default=[],
        metavar="CIDR",
        help="network to scan, such as 192.168.1.0/24; can be repeated (default: that of the cluster, up to a /20)",
    )
    parser.add_argument(
        "--leases", type=Path, metavar="FILE", help="leases file of dnsmasq (default: the usual places)"
    )
    parser.add_argument(
        "--timeout",
        type=number("--timeout", float, "{:g} to {:g} seconds".format(*_TIMEOUTS_S)),
        default=_TIMEOUT_S,
        metavar="S",
        help=f"seconds to wait for an answer from an address; a login may take {_LOGIN_TIMES} times as long "
        "(default: 2)",
    )
    add_dry_run(parser)
    add_json(parser)
    parser.set_defaults(parse=parse, run=run)


def parse(options: argparse.Namespace) -> DiscoverRequest:
    """Return the request of the command."""
    names.check_cluster_name(options.cluster, "CLUSTER")
    low, high = _TIMEOUTS_S
    if not low <= options.timeout <= high:
        raise PiclusterError(f"--timeout {options.timeout:g} is out of range: expected {low:g} to {high:g} seconds")
    return DiscoverRequest(
        folder=options.inventories / options.cluster,
        nets=_parse_nets(options.net),
        leases=leases.read(options.leases) if options.leases else None,
        timeout_s=options.timeout,
        dry_run=options.dry_run,
    )


def _parse_nets(texts: Sequence[str]) -> list[IPv4Network]:
    nets = []
    for text in texts:
        try:
            nets.append(IPv4Network(text, strict=False))
        except ValueError as error:
            raise PiclusterError(f"--net {text!r} is not an IPv4 network: write it like 192.168.1.0/24") from error
    size = sum(net.num_addresses for net in nets)
    if size > _MAX:
        raise PiclusterError(f"--net is too large: {size:,} addresses; name a part with at most {_MAX:,} (a /16)")
    return nets


class _SearchDisplay(discover.SearchWatcher):
    """Shows a search on a board."""

    def __init__(self, board: Board, cluster: Cluster) -> None:
        self._board = board
        self._cluster = cluster

    def queried(self, done: int, total: int) -> None:
        self._board.overall(done, total, "queried")

    def answered(self, login: Login) -> None:
        if login.answer and login.answer.name in self._cluster.addresses:
            self._board.row(login.answer.name, "done", detail=str(login.address))


def run(request: DiscoverRequest, report: Report) -> int:
    """Find the nodes and record what they report."""
    require_client()
    cluster = inventory_edit.read(request.folder)
    nets, notes = (request.nets, []) if request.nets else _own_nets(cluster)
    leased = request.leases
    if leased is None:
        leased = leases.usual(cluster.addresses, set(cluster.macs.values()))
    where = discover.Where(
        first=[*cluster.addresses.values(), *cluster.found_at.values(), *(lease.address for lease in leased)],
        nets=nets,
        names=tuple(cluster.addresses),
        timeout_s=request.timeout_s,
    )
    for note in notes:
        report.note(note)
    with tempfile.TemporaryDirectory(prefix="picluster-") as folder:
        limit_s = _LOGIN_TIMES * request.timeout_s
        access = Access(cluster.user, cluster.key, cluster.port, cluster.interface, limit_s, Path(folder))
        rows = tuple(cluster.addresses)
        with report.board(request.folder.name, rows, row_event="node", in_bytes=False) as board:
            logins = discover.search(access, where, _SearchDisplay(board, cluster))
            findings = verdict.judge(cluster, logins, verdict.trust(cluster, access, logins))
            for node in findings.nodes:
                if node.state != verdict.FOUND:
                    board.row(node.name, "failed", detail=node.why or node.state)
    edit = _edit(cluster, findings)
    if not request.dry_run:
        edit.apply()
    _report_nodes(report, cluster, findings)
    changes.report_edit(report, edit, dry_run=request.dry_run)
    return _close(report, findings)


def _own_nets(cluster: Cluster) -> tuple[list[IPv4Network], list[str]]:
    nets, notes = [], []
    room = _DEFAULT_MAX
    for net in cluster.networks:
        if net.num_addresses <= room:
            nets.append(net)
            room -= net.num_addresses
        else:
            notes.append(
                f"the network {net} is larger than the /20 that is scanned by default: only reserved addresses, leases "
                f"and mDNS are tried; name the part to scan, such as --net {next(net.subnets(new_prefix=24))}"
            )
    return nets, notes


def _edit(cluster: Cluster, findings: Findings) -> Edit:
    answers = {node.name: node.answer for node in findings.nodes if node.answer}
    # A MAC address that two nodes share identifies neither.
    times = Counter(answer.mac for answer in answers.values())
    facts = {
        name: {
            "node_mac": answer.mac if times[answer.mac] == 1 else "",
            "node_serial": answer.serial,
            "node_model": answer.model,
        }
        for name, answer in answers.items()
    }
    found = {node.name: node.address for node in findings.nodes if node.address}
    fresh = {node.name: node.login.host_key for node in findings.nodes if node.login and node.is_new}
    return inventory_edit.record(cluster, facts, found, fresh)


def _report_nodes(report: Report, cluster: Cluster, findings: Findings) -> None:
    for node in findings.nodes:
        answer, login = node.answer, node.login
        report.say(
            "result",
            "",
            name=node.name,
            state=node.state,
            reserved=str(cluster.addresses[node.name]),
            address=str(node.address or ""),
            mac=answer.mac if answer else "",
            serial=answer.serial if answer else "",
            model=answer.model if answer else "",
            arch=answer.arch if answer else "",
            host_key=known_hosts.fingerprint(login.host_key) if login else "",
            why=node.why,
        )
    report.table(("node", "address", "MAC", "model", "state"), [_row(cluster, node) for node in findings.nodes])
    for text in findings.warnings:
        report.say("warning", f"warning: {text}", text=text)
    for text in findings.unlisted:
        report.note(text)


def _row(cluster: Cluster, node: NodeResult) -> tuple[str, ...]:
    reserved = cluster.addresses[node.name]
    state = node.state if node.address in (None, reserved) else f"{node.state}; reserved is {reserved}"
    answer = node.answer
    return (node.name, str(node.address or "-"), *((answer.mac, answer.model) if answer else ("", "")), state)


def _close(report: Report, findings: Findings) -> int:
    for node in findings.nodes:
        if node.why:
            report.aside(node.why)
    good = findings.of(verdict.FOUND)
    bad = {state: findings.of(state) for state in (verdict.MISSING, verdict.TWICE, verdict.WRONG_KEY)}
    text = f"found {len(good)} of {len(findings.nodes)} nodes"
    text += "".join(f"; {state}: {', '.join(nodes)}" for state, nodes in bad.items() if nodes)
    if findings.strangers:
        text += f"; other hosts with ssh: {findings.strangers}"
    report.say(
        "done",
        text,
        found=good,
        missing=bad[verdict.MISSING],
        twice=bad[verdict.TWICE],
        wrong_host_key=bad[verdict.WRONG_KEY],
        strangers=findings.strangers,
    )
    return EXIT_FAILED if any(bad.values()) else 0
