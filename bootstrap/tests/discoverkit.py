"""For the tests of discovery: the inventory of red1 to red3, and the command with --json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from sshdkit import Board

from picluster import cli

if TYPE_CHECKING:
    import pytest

# Each node's reserved address; .2 to .14 are free, so is 127.78.0.0/16, another net.
RED = {f"red{number}": f"127.77.0.{number}" for number in (1, 2, 3)}
BOARDS = {name: Board(address, name, number) for number, (name, address) in enumerate(RED.items(), 1)}
INVENTORY = Path("inventories/red")
NODES = INVENTORY / "10-nodes.yml"
KNOWN_HOSTS = INVENTORY / "known_hosts"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text)


def nodes_text(nodes: dict[str, str]) -> str:
    lines = "".join(
        f"        # about {name}\n        {name}: {{node_address: {address}}}  # mine\n"
        for name, address in nodes.items()
    )
    return f"---\n# my nodes\nall:\n  children:\n    nodes:\n      hosts:\n{lines}"


def hosts() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]]
    found = yaml.safe_load(NODES.read_text(encoding="utf-8"))["all"]["children"]["nodes"]["hosts"]
    return found


def search(capsys: pytest.CaptureFixture[str], *options: str, timeout: str = "3") -> tuple[int, dict[str, Any]]:
    """Run the command for programs; return its exit code, and the events: results by node, texts of all others.

    Nothing here is slow but a machine that does much else: only where a host is silent the timeout is waited for.
    """
    capsys.readouterr()
    code = cli.main(["discover", "red", "--json", "--timeout", timeout, *options])
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    said: dict[str, Any] = {
        "result": {event["name"]: event for event in events if event["event"] == "result"},
        "note": [event["text"] for event in events if event["event"] == "note"],
        "warning": [event["text"] for event in events if event["event"] == "warning"],
        "err": err,
    }
    said |= {event["event"]: event for event in events if event["event"] in ("inventory", "done")}
    return code, said


def snapshot() -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in INVENTORY.rglob("*") if path.is_file()}


def facts(board: Board) -> dict[str, str]:
    return {"node_mac": board.shown_mac, "node_serial": board.serial, "node_model": board.model}
