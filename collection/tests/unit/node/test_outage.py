"""An outage of half a minute: what ssh makes of the project's ansible.cfg."""

from __future__ import annotations

import configparser
import shlex
import socket
import subprocess
from pathlib import Path

OUTAGE = 30
CONFIG = configparser.ConfigParser(interpolation=None)
CONFIG.read(Path(__file__).parents[4] / "ansible.cfg", encoding="utf-8")


def ssh(*more: str) -> list[str]:
    """Return ssh with the project's arguments, without a master connection."""
    arguments = shlex.split(CONFIG["ssh_connection"]["ssh_args"])
    return ["ssh", "-F", "none", "-o", "ControlMaster=no", "-o", "BatchMode=yes", *arguments, *more]


def test_half_a_minute_of_silence_or_refusals_costs_no_run() -> None:
    done = subprocess.run(ssh("-G", "127.0.0.1"), capture_output=True, text=True, check=True)
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    # A refused connection is tried again after a second.
    assert int(found["connectionattempts"]) - 1 > OUTAGE
    # An attempt that began in the outage must not be the only one.
    assert int(found["connecttimeout"]) < OUTAGE
    # An open connection: TCP sends again after 0.2 s, then after twice the time each, so at 25.4 s and at 51 s.
    assert int(found["serveraliveinterval"]) * int(found["serveralivecountmax"]) > 51
    assert 51 < int(CONFIG["defaults"]["timeout"]) <= 60


def test_ansible_repeats_no_task_whose_connection_broke_while_it_ran() -> None:
    assert not any("retries" in CONFIG[section] for section in CONFIG.sections())


def test_a_node_that_refuses_connections_at_first_is_reached() -> None:
    with socket.socket() as node:
        node.bind(("127.0.0.1", 0))  # bound, but not listening: connections are refused
        command = ssh("-v", "-p", str(node.getsockname()[1]), "pi@127.0.0.1", "true")
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert any("Trying again" in line for line in process.stderr)
            node.listen()
            node.settimeout(10)
            node.accept()[0].close()
            assert "Connection established" in process.stderr.read()
