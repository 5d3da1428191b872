"""The lab's command line: ``python -m lab up|down|status|unplug|plug|restart|exec|...``; ``--help`` has them all."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ansible_runner
from rich.console import Console
from rich.table import Table

from lab.addresses import LabNet
from lab.cluster import DEFAULT_NET, Lab, Wish
from lab.errors import LabError
from lab.recipe import SUITES
from lab.report import Reporter
from lab.state import ROOT, Folder, clusters

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 2 and one sentence on standard error for what the user can mend."""
    options = parser().parse_args(arguments)
    report = Reporter()
    try:
        return int(options.run(options, report) or 0)
    except LabError as error:
        report.block(f"lab: {error}")
        return USAGE_ERROR
    except KeyboardInterrupt:
        report.block("lab: stopped by the user; the same command goes on where it was, `make demo-down` clears up.")
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="lab", description="Container nodes that boot from burnt cards.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    up = command("up", "Have a lab running: build, burn, boot; running again checks and mends.")
    _wish_options(up)
    up.set_defaults(run=_up)

    for name, text, function in (
        ("down", "Take a lab away; images and inventory stay.", _down),
        ("demo-down", "Take the demo's lab away.", _down),
        ("status", "Show a lab's nodes.", _status),
    ):
        simple = command(name, text)
        simple.add_argument("--name", default="red", help="the lab's name (default: %(default)s)")
        simple.add_argument("--json", action="store_true", help="for programs") if name == "status" else None
        simple.set_defaults(run=function)

    for name, text, function in (
        ("unplug", "Pull a node's network cable.", _unplug),
        ("plug", "Plug a node's network cable in again.", _plug),
        ("restart", "Cut a node's power and give it back.", _restart),
    ):
        on_node = command(name, text)
        on_node.add_argument("node", metavar="NODE", help="the node, such as red2")
        on_node.add_argument("--name", help="the lab's name (default: the node's name without its number)")
        on_node.set_defaults(run=function)

    attend = command("attend", "Switch on again whatever node restarts itself, as a board does; until it is stopped.")
    attend.add_argument("--name", default="red", help="the lab's name (default: %(default)s)")
    attend.set_defaults(run=_attend)

    pool = command("verify-pool", "Boot a stock card without a hint and see that its address is one of the pool's.")
    pool.add_argument("--name", default="red", help="the lab's name (default: %(default)s)")
    pool.add_argument("--suite", default=SUITES[0], choices=SUITES, help="the card's suite (default: %(default)s)")
    pool.set_defaults(run=_verify_pool)

    scan = command("scan", "Show which ports of the nodes a stranger on their network finds open.")
    scan.add_argument("--name", default="red", help="the lab's name (default: %(default)s)")
    scan.add_argument("--ports", default="1-65535", help="TCP, as nmap takes them (default: %(default)s)")
    scan.add_argument("--udp", default="", metavar="PORTS", help="UDP likewise: which of them answer (default: none)")
    scan.add_argument("--json", action="store_true", help="for programs")
    scan.set_defaults(run=_scan)

    knock = command("knock", "Let a stranger try to log in with nobody's key, and show what became of it.")
    knock.add_argument("--name", default="red", help="the lab's name (default: %(default)s)")
    knock.add_argument("--user", default="pi", help="who to log in as (default: %(default)s)")
    knock.add_argument("--times", type=int, default=10, help="attempts on each node (default: %(default)s)")
    knock.add_argument("--json", action="store_true", help="for programs")
    knock.set_defaults(run=_knock)

    inside = command("exec", "Run a command as root on a node, or on the gateway: faults come from there.")
    inside.add_argument("node", metavar="NODE", help="the node, such as red2, or gateway")
    inside.add_argument("--name", help="the lab's name (default: the node's name without its number)")
    inside.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments")
    inside.set_defaults(run=_exec)

    interrupt = command("interrupt", "Start a run, and end it once a node waits for its confirmation.")
    interrupt.add_argument("node", metavar="NODE", help="the node, such as red2")
    interrupt.add_argument("--name", help="the lab's name (default: the node's name without its number)")
    interrupt.add_argument("--armed", required=True, metavar="WHAT", help="what waits: sshd, firewall or network")
    interrupt.add_argument("--restart", action="store_true", help="cut the node's power instead of killing the run")
    interrupt.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the run")
    interrupt.set_defaults(run=_interrupt)

    demo = command("demo", "Have a lab running, then run site.yml on it.")
    _wish_options(demo)
    demo.set_defaults(run=_demo)
    return top


def _wish_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--name", default="red", help="the lab's name (default: %(default)s)")
    sub.add_argument("--nodes", type=int, default=3, help="how many nodes (default: %(default)s)")
    sub.add_argument("--net", default=DEFAULT_NET, help="the lab's private net (default: %(default)s)")
    sub.add_argument(
        "--suite", default=SUITES[0], help="trixie, bookworm or both with a comma: in turn (default: %(default)s)"
    )
    sub.add_argument(
        "--inventories", type=Path, default=ROOT / "inventories", help="folder of inventories (default: the checkout's)"
    )


def _wish(options: argparse.Namespace) -> Wish:
    suites = tuple(dict.fromkeys(options.suite.split(",")))
    unknown = [suite for suite in suites if suite not in SUITES]
    if unknown:
        raise LabError(f"--suite takes {' and '.join(SUITES)}, not {unknown[0]!r}.")
    return Wish(options.name, options.nodes, LabNet.parse(options.net), suites, options.inventories)


def _up(options: argparse.Namespace, report: Reporter) -> None:
    Lab(options.name, report).up(_wish(options))


def _down(options: argparse.Namespace, report: Reporter) -> None:
    Lab(options.name, report).down()


def _status(options: argparse.Namespace, report: Reporter) -> int:
    rows = Lab(options.name, report).status()
    if options.json:
        keys = ("node", "suite", "address", "power")
        sys.stdout.write(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]) + "\n")
    else:
        table = Table("node", "suite", "address", "power")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
    return 0 if all(row[-1] == "on" for row in rows) else 1


def _of_node(options: argparse.Namespace, report: Reporter) -> Lab:
    name = options.name or re.sub(r"\d+$", "", options.node)
    if not options.name and name not in clusters():
        raise LabError(f"There is no lab {name!r} for the node {options.node!r}; say which by --name.")
    return Lab(name, report)


def _unplug(options: argparse.Namespace, report: Reporter) -> None:
    _of_node(options, report).switch(options.node, on=False)


def _plug(options: argparse.Namespace, report: Reporter) -> None:
    _of_node(options, report).switch(options.node, on=True)


def _restart(options: argparse.Namespace, report: Reporter) -> None:
    _of_node(options, report).restart(options.node)


def _attend(options: argparse.Namespace, report: Reporter) -> None:
    Lab(options.name, report).attend()


def _verify_pool(options: argparse.Namespace, report: Reporter) -> None:
    Lab(options.name, report).verify_pool(options.suite)


def _scan(options: argparse.Namespace, report: Reporter) -> None:
    found = Lab(options.name, report).scan(options.ports, options.udp)
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for node, families in found.items():
        for family, ports in families.items():
            report.line(f"{node} {family}: {', '.join(map(str, ports)) or 'nothing'}")


def _knock(options: argparse.Namespace, report: Reporter) -> None:
    if options.times < 1:
        raise LabError(f"--times takes a number from 1 on, not {options.times}.")
    found = Lab(options.name, report).knock(options.user, options.times)
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for node, verdicts in found.items():
        report.line(f"{node}: {', '.join(verdicts)}")


def _exec(options: argparse.Namespace, report: Reporter) -> int:
    code, said = _of_node(options, report).execute(options.node, _words(options))
    sys.stdout.write(said)
    return code


def _interrupt(options: argparse.Namespace, report: Reporter) -> int:
    lab = _of_node(options, report)
    code, said = lab.interrupt(options.node, options.armed, _words(options), restart=options.restart)
    sys.stdout.write(said)
    # A run that was killed as it should be is no failure.
    return code if options.restart else 0


def _words(options: argparse.Namespace) -> list[str]:
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words:
        raise LabError("Say which command, after `--`.")
    return list(words)


def _demo(options: argparse.Namespace, report: Reporter) -> int:
    """The lab, the playbook, and what to try next."""
    wish = _wish(options)
    state = Lab(options.name, report).up(wish)
    inventory = _shown(wish.inventories / wish.cluster)
    report.line(f"ansible-playbook site.yml -i {inventory}")
    private = Folder.of(wish.cluster).path / "runner"
    private.mkdir(exist_ok=True)
    # The runner keeps the first run's settings for all later ones, also whether there was a terminal.
    (private / "env" / "envvars").unlink(missing_ok=True)
    run = ansible_runner.run(
        private_data_dir=str(private),
        project_dir=str(ROOT),
        playbook="site.yml",
        inventory=str((ROOT / inventory).resolve()),
        quiet=True,
        event_handler=_show,
        rotate_artifacts=5,
        # The runner gives the playbook a terminal of its own, which takes colours whatever ours takes.
        envvars={}
        if Console().is_terminal and not Console().no_color
        else {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
    )
    first = state.nodes[0].name
    report.block(
        f"\nTry next, after `. .venv/bin/activate`:\n"
        f"  ansible-playbook site.yml -i {inventory}      # again: nothing changes\n"
        f"  ansible {first} -i {inventory} -b -a 'docker info'\n"
        f"  PYTHONPATH=molecule python -m lab restart {first}      # cut a node's power\n"
    )
    return int(run.rc)


def _show(event: dict[str, Any]) -> bool:
    """Pass on what the playbook says, as it says it."""
    if event["stdout"]:
        sys.stdout.write(event["stdout"] + "\n")
        sys.stdout.flush()
    # Anything else makes the runner drop the event, and the run's statistics with it.
    return True


def _shown(path: Path) -> str:
    """A path as the user would type it at the root of the checkout."""
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
