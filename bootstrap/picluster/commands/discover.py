"""picluster discover: which nodes are up, where each is, and what board it is; the inventory keeps it."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from pathlib import Path
from typing import TYPE_CHECKING

from picluster import discover
from picluster.commands import EXIT_FAILED, add_json, planning
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
    from picluster.discover.verdict import Findings, Node
    from picluster.inventory.edit import Cluster, Edit

# What is searched without being asked to: a /20. At 160 silent addresses in 2 s that is under a minute.
_UNASKED = 1 << 12
_ASKED = 1 << 16
_TIMEOUT_S = 2.0
_TIMEOUTS_S = (0.1, 60.0)
# A login takes several turns and some of a small board's CPU.
_LOGIN_TIMES = 5


def add_to(commands: Subparsers) -> None:
    """Describe the command."""
    parser = commands.add_parser("discover", help="find the nodes that are up, and keep what they tell of themselves")
    parser.add_argument("cluster", metavar="CLUSTER", help="name of the cluster, like red")
    planning.add_inventories(parser)
    parser.add_argument(
        "--net",
        action="append",
        default=[],
        metavar="CIDR",
        help="net to search, like 192.168.1.0/24, may be repeated (default: the cluster's own, up to a /20)",
    )
    parser.add_argument("--leases", type=Path, metavar="FILE", help="leases of a dnsmasq (default: its usual places)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=_TIMEOUT_S,
        metavar="S",
        help=f"seconds that an address may be silent; a login may take {_LOGIN_TIMES} times that (default: 2)",
    )
    parser.add_argument("--dry-run", action="store_true", help="look, write nothing")
    add_json(parser)
    parser.set_defaults(run=run)


class _Watcher(discover.Watcher):
    """Shows a search on a board."""

    def __init__(self, board: Board, cluster: Cluster) -> None:
        self._board = board
        self._cluster = cluster

    def asked(self, done: int, total: int) -> None:
        self._board.overall(done, total, "asked")

    def answered(self, login: Login) -> None:
        if login.answer and login.answer.name in self._cluster.addresses:
            self._board.row(login.answer.name, "done", detail=str(login.address))


def run(options: argparse.Namespace, report: Report) -> int:
    """Find the nodes and write what they told."""
    names.check_cluster_name(options.cluster, "CLUSTER")
    if not _TIMEOUTS_S[0] <= options.timeout <= _TIMEOUTS_S[1]:
        raise PiclusterError(f"--timeout {options.timeout:g} is not possible: 0.1 to 60 seconds, mostly 2")
    asked = _nets(options.net)
    require_client()
    cluster = inventory_edit.read(options.inventories / options.cluster)
    given = leases.read(options.leases) if options.leases else None
    nets, notes = (asked, []) if asked else _own_nets(cluster)
    macs = set(cluster.macs.values())
    leased = given if given is not None else leases.usual(cluster.addresses, macs)
    where = discover.Where(
        first=[*cluster.addresses.values(), *cluster.found_at.values(), *(lease.address for lease in leased)],
        nets=nets,
        names=tuple(cluster.addresses),
        timeout_s=options.timeout,
    )
    for note in notes:
        report.say("note", f"note: {note}", text=note)
    with tempfile.TemporaryDirectory(prefix="picluster-") as folder:
        access = Access(
            cluster.user, cluster.key, cluster.port, cluster.interface, _LOGIN_TIMES * options.timeout, Path(folder)
        )
        with report.board(options.cluster, tuple(cluster.addresses), row_event="node", in_bytes=False) as board:
            logins = discover.search(access, where, _Watcher(board, cluster))
            findings = verdict.judge(cluster, logins, verdict.trust(cluster, access, logins))
            for node in findings.nodes:
                if node.state != verdict.FOUND:
                    board.row(node.name, "failed", detail=node.why or node.state)
    edit = _edit(cluster, findings)
    if not options.dry_run:
        edit.apply()
    _say(report, cluster, findings)
    planning.say_edit(report, edit, dry_run=options.dry_run)
    return _close(report, findings)


def _nets(texts: Sequence[str]) -> list[IPv4Network]:
    nets = []
    for text in texts:
        try:
            nets.append(IPv4Network(text, strict=False))
        except (AddressValueError, NetmaskValueError, ValueError) as error:
            raise PiclusterError(f"--net {text!r} is not an IPv4 net: write it like 192.168.1.0/24") from error
    size = sum(net.num_addresses for net in nets)
    if size > _ASKED:
        raise PiclusterError(
            f"--net has {size:,} addresses: at most {_ASKED:,} (a /16) are searched, name a smaller part"
        )
    return nets


def _own_nets(cluster: Cluster) -> tuple[list[IPv4Network], list[str]]:
    nets, notes = [], []
    room = _UNASKED
    for net in cluster.networks:
        if net.num_addresses <= room:
            nets.append(net)
            room -= net.num_addresses
        else:
            notes.append(
                f"the net {net} is larger than the /20 that is searched unasked, so only the reserved addresses, "
                f"leases and mDNS are tried: name the part to search, like --net {next(net.subnets(new_prefix=24))}"
            )
    return nets, notes


def _edit(cluster: Cluster, findings: Findings) -> Edit:
    told = {node.name: node.answer for node in findings.nodes if node.answer}
    # A MAC that two nodes share says nothing of either.
    times = Counter(answer.mac for answer in told.values())
    facts = {
        name: {
            "node_mac": answer.mac if times[answer.mac] == 1 else "",
            "node_serial": answer.serial,
            "node_model": answer.model,
        }
        for name, answer in told.items()
    }
    found = {node.name: node.address for node in findings.nodes if node.address}
    fresh = {node.name: node.login.host_key for node in findings.nodes if node.login and node.is_new}
    return inventory_edit.record(cluster, facts, found, fresh)


def _say(report: Report, cluster: Cluster, findings: Findings) -> None:
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
        report.say("note", f"note: {text}", text=text)


def _row(cluster: Cluster, node: Node) -> tuple[str, ...]:
    reserved = cluster.addresses[node.name]
    state = node.state if node.address in (None, reserved) else f"{node.state}; reserved is {reserved}"
    answer = node.answer
    return (node.name, str(node.address or "-"), *((answer.mac, answer.model) if answer else ("", "")), state)


def _close(report: Report, findings: Findings) -> int:
    for node in findings.nodes:
        if node.why:
            sys.stderr.write(f"{node.why}\n")
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
