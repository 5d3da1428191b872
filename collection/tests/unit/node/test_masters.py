"""Connections that an earlier run kept open are asked to end by their sockets, which real ssh finds."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.masters import close_masters

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ssh(tmp_path: Path) -> Path:
    """A program that notes what it is called with, as ssh with a master at every address."""
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_the_masters_at_all_addresses_are_stopped_as_the_nodes_own_user(ssh: Path, tmp_path: Path) -> None:
    variables = {
        "ansible_host": "10.0.0.1",
        "ansible_user": "pi",
        "ansible_port": 2222,
        "ansible_ssh_executable": str(ssh),
        "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=600s",
        "ansible_control_path": f"{tmp_path}/%%C",
        "node_address": "10.0.0.1",
    }
    close_masters(connection_loader, PlayContext(), variables, ["10.0.0.1", "10.0.0.9"])
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert [call.split()[-3:] for call in calls] == [
        ["-O", word, address] for address in ("10.0.0.1", "10.0.0.9") for word in ("check", "stop")
    ]
    for call in calls:
        assert 'User="pi"' in call
        assert "Port=2222" in call
        assert f'ControlPath="{tmp_path}/%C"' in call
