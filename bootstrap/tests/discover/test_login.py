"""One login: the query, the ssh command, and which parts of the answer are accepted."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cardkit import run
from discoverkit import BOARDS, INVENTORY, NODES, RED, search, write
from sshdkit import Board, Fleet

from picluster.discover import login

HOSTILE = {
    "template": "{{ lookup('pipe', 'reboot') }}",
    "statement": "{% for x in y %}",
    "escape": "\x1b[2J\x07\x9b",
    "markup": "[bold]",
    "quotes": "\"'\\`$!&|<>*?~",
    "other letters": "\u202egnp\u0000",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_a_board_says_is_harmless_where_it_goes(what: str) -> None:
    text = f"Pi {HOSTILE[what]}" + "x" * 500
    said = f"welcome\npicluster-node\n\nname=red1\n\nserial={text}\0\nmodel={text}\0\narch=arm64\npicluster-end\n"
    answer = login.parse(said)
    assert answer is not None
    for value in (answer.serial, answer.model):
        assert value.startswith("Pi")
        assert len(value) <= 80
        assert not set(value) & set("{}[]%\"'\\`$&|<>*?~!\x1b\x07\x9b\u202e")


@pytest.mark.parametrize(
    ("mac", "kept"),
    [
        ("DC:A6:32:00:00:01", "dc:a6:32:00:00:01"),
        ("10:20:30:40:50:59", "10:20:30:40:50:59"),
        ("00:00:00:00:00:00", ""),
        ("01:00:5e:00:00:fb", ""),
        ("dc:a6:32:00:00", ""),
        ("", ""),
    ],
)
def test_only_a_boards_own_mac_is_believed(mac: str, kept: str) -> None:
    answer = login.parse(f"picluster-node\n\nname=RED1.local\n\nmac={mac}\n\nmachine_id=none\npicluster-end\n")
    assert answer is not None
    assert (answer.mac, answer.name, answer.machine_id) == (kept, "red1", "")


@pytest.mark.parametrize("said", ["", "picluster-node\nname=red1\n", "hello\n", "name=red1\npicluster-end\n"])
def test_an_answer_cut_short_is_none(said: str) -> None:
    assert login.parse(said) is None


def test_a_mac_of_decimal_digits_stays_a_text_for_ansible(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(Board(RED["red1"], "red1", 1, mac="10:20:30:40:50:59"))
    search(capsys)
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-inventory"), "-i", NODES, "--host", "red1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["node_mac"] == "10:20:30:40:50:59"


def test_a_board_without_the_interface_tells_of_its_default_route(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = INVENTORY / "group_vars/all/cluster.yml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("eth0", "end0"), encoding="utf-8")
    fleet.switch_on(*BOARDS.values())
    assert search(capsys)[1]["result"]["red1"]["mac"] == BOARDS["red1"].shown_mac


def test_the_question_is_answered_by_this_very_machine_in_plain_sh() -> None:
    shell = shutil.which("dash") or "sh"
    done = subprocess.run([shell, "-s", "--", "lo"], input=login._QUERY, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    answer = login.parse(done.stdout)
    assert answer is not None
    assert answer.name == socket.gethostname().split(".")[0].lower()
    assert answer.arch == run("dpkg", "--print-architecture").strip()


def test_the_question_is_sound_for_shellcheck(tmp_path: Path) -> None:
    (tmp_path / "question.sh").write_text(f"#!/bin/sh\n{login._QUERY}", encoding="utf-8")
    run("shellcheck", tmp_path / "question.sh")


@pytest.mark.parametrize("trust_machine", [True, False])
def test_ssh_is_told_to_ask_nobody_and_to_share_nothing(tmp_path: Path, *, trust_machine: bool) -> None:
    access = login.Access("me", tmp_path / "a key", 2222, "eth0", 7.5, tmp_path)
    known_hosts = tmp_path / "a folder" / "hosts"
    write(tmp_path / "a key", "")
    ssh = login.command(access, IPv4Address("192.0.2.1"), known_hosts, "red1", trust_machine=trust_machine)
    assert ssh[0] == "ssh"
    said = run("ssh", "-F", "none", "-G", *ssh[1:]).splitlines()
    settings = dict(line.split(" ", 1) for line in said if " " in line)
    assert settings["userknownhostsfile"].strip('"') == str(known_hosts)
    assert (settings["globalknownhostsfile"] == os.devnull) != trust_machine
    wanted = {
        "user": "me",
        "port": "2222",
        "hostkeyalias": "red1",
        "identityfile": str(tmp_path / "a key"),
        "batchmode": "yes",
        "connecttimeout": "9",
        "stricthostkeychecking": "accept-new",
        "updatehostkeys": "false",
        "forwardagent": "no",
        "forwardx11": "no",
        "clearallforwardings": "yes",
        "controlmaster": "false",
        "requesttty": "false",
        "preferredauthentications": "publickey",
    }
    assert {key: settings.get(key) for key in wanted} == wanted


def test_a_login_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    slow = ["sh", "-c", f"echo $$ >{pid}.new && mv {pid}.new {pid} && exec sleep 600"]
    assert asyncio.run(login._run(slow, "", 3)) == (None, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text(encoding="ascii")), 0)
