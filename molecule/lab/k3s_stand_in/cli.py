# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: selects the program, and reports fatal errors."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from lab.k3s_stand_in.agent import run_agent
from lab.k3s_stand_in.kubectl import run_kubectl
from lab.k3s_stand_in.output import NOTICE, VERSION, FatalError, log, say
from lab.k3s_stand_in.server import run_server
from lab.k3s_stand_in.settings import read_settings


def run(command: str, arguments: list[str]) -> None:
    """Run one of k3s's commands.

    Raises:
        FatalError: When it cannot be done.
    """
    if command in ("--version", "-v") or (command in ("crictl", "ctr") and arguments == ["--version"]):
        say(f"k3s version {VERSION} ({NOTICE})")
    elif command == "server":
        run_server(read_settings(command, arguments))
    elif command == "agent":
        run_agent(read_settings(command, arguments))
    elif command == "kubectl":
        run_kubectl(arguments)
    else:
        raise FatalError(f"{NOTICE}; it cannot do 'k3s {command}'")


def main() -> None:
    """Act as the program that the name or the first argument says."""
    name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    command = name if name in ("kubectl", "crictl", "ctr") else (arguments.pop(0) if arguments else "help")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        run(command, arguments)
    except (FatalError, OSError, ValueError, KeyError) as error:
        log("fatal", str(error) or repr(error))
        sys.exit(1)
