"""The first login: a real client with the key that was burnt, from outside the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paramiko

from lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from lab.nodes import Node

# The user that the bootstrap makes able to log in unless told otherwise.
USER = "pi"
TIMEOUT = 20.0
# sudo's question would wait for ever; -n makes it an answer.
WHO = "hostname && sudo -n id --user --name"


def first_login(node: Node, key: Path) -> None:
    """Log in by the key alone, become root, and see that the node has its card's name.

    Raises:
        LabError: no login, no sudo, or another node at this address.
    """
    client = paramiko.SSHClient()
    # Nobody has seen this node before; what it shows is kept by the first run of Ansible, not here.
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507 - the lab's own bridge, first contact
    try:
        client.connect(
            node.address,
            username=USER,
            key_filename=str(key),
            allow_agent=False,
            look_for_keys=False,
            timeout=TIMEOUT,
            banner_timeout=TIMEOUT,
            auth_timeout=TIMEOUT,
        )
        _, stdout, stderr = client.exec_command(WHO, timeout=TIMEOUT)
        said, complaint = stdout.read().decode(), stderr.read().decode()
    except (OSError, paramiko.SSHException) as error:
        raise LabError(f"{USER} cannot log in to {node.name} at {node.address} by its card's key: {error}") from error
    finally:
        client.close()
    judge(node.name, said.split(), complaint)


def judge(name: str, said: list[str], complaint: str) -> None:
    """Judge what the node said of itself.

    Raises:
        LabError: it is not the node, or sudo asks for a password.
    """
    if not said or said[0] != name:
        itself = said[0] if said else "nothing"
        raise LabError(f"The node at {name}'s address calls itself {itself}: {complaint.strip()}")
    if said[1:] != ["root"]:
        raise LabError(f"On {name} sudo does not make the card's user root: {complaint.strip()}")
