"""Identity of boards: host keys as ssh judges them, two boards with one name, copied cards, swapped boards."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cardkit import run
from discoverkit import BOARDS, KNOWN_HOSTS, RED, append, hosts, search, write
from sshdkit import USER, Board, Fleet

from picluster.discover import verdict

if TYPE_CHECKING:
    from ipaddress import IPv4Address


def test_two_boards_of_one_name_are_named_and_not_merged(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values(), Board("127.77.0.9", "red2", 9))
    code, said = search(capsys)
    assert (code, said["done"]["twice"], said["done"]["found"]) == (1, ["red2"], ["red1", "red3"])
    for mark in ("127.77.0.2", BOARDS["red2"].shown_mac, "127.77.0.9", "dc:a6:32:00:00:09"):
        assert mark in said["err"]
    assert hosts()["red2"] == {"node_address": RED["red2"]}
    assert "red2" not in KNOWN_HOSTS.read_text(encoding="utf-8")
    assert hosts()["red1"]["node_mac"] == BOARDS["red1"].shown_mac


@pytest.mark.parametrize(
    "other",
    [
        Board("127.77.0.9", "red2", 2, key="other"),
        Board("127.77.0.9", "red2", 2, key="same", mac="dc:a6:32:00:00:09"),
        Board("127.77.0.9", "red2", 2, key="same", machine_id="f" * 32),
    ],
    ids=["host key", "MAC", "machine id"],
)
def test_boards_of_one_name_that_differ_in_one_thing_are_two(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], other: Board
) -> None:
    fleet.switch_on(Board(RED["red2"], "red2", 2, key="same"), other)
    assert search(capsys)[1]["done"]["twice"] == ["red2"]


def test_one_board_with_two_addresses_is_one(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(BOARDS["red1"], BOARDS["red3"])
    fleet.switch_on(*(Board(address, "red2", 2, key="red2") for address in ("127.77.0.9", RED["red2"])))
    code, said = search(capsys)
    assert (code, said["result"]["red2"]["address"]) == (0, RED["red2"])
    # Without its reserved address it stays where it was last found, although another address comes first.
    fleet.switch_off(RED["red2"])
    search(capsys)
    fleet.switch_on(Board("127.77.0.8", "red2", 2, key="red2"))
    assert search(capsys)[1]["result"]["red2"]["address"] == "127.77.0.9"


def test_a_wrong_host_key_is_named_and_nothing_is_recorded(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values())
    write(KNOWN_HOSTS, f"red2 {fleet.host_key(BOARDS['red1'])}\n")
    code, said = search(capsys)
    assert (code, said["done"]["wrong_host_key"], said["done"]["found"]) == (1, ["red2"], ["red1", "red3"])
    assert "ssh-keygen -R red2 -f inventories/red/known_hosts" in said["err"]
    assert hosts()["red2"] == {"node_address": RED["red2"]}
    kept = KNOWN_HOSTS.read_text(encoding="utf-8").splitlines()
    assert [line for line in kept if line.startswith("red2")] == [f"red2 {fleet.host_key(BOARDS['red1'])}"]
    # The suggested command is sufficient.
    run("ssh-keygen", "-R", "red2", "-f", KNOWN_HOSTS)
    assert search(capsys)[0] == 0


def _hashed(text: str) -> str:
    write(Path("hashed"), text)
    run("ssh-keygen", "-H", "-f", "hashed")
    return Path("hashed").read_text(encoding="utf-8")


# Contents of known_hosts (KEY, ECDSA: those of red1; OTHER: another of the same type; RSA: a type that red1 lacks).
TRUST = {
    "known": ("red1 KEY", "found"),
    "hashed": ("HASH red1 KEY", "found"),
    "with others": ("red50 OTHER\nred1,10.0.0.1 KEY my comment", "found"),
    "two keys": ("red1 OTHER\nred1 KEY", "found"),
    "of another type": ("red1 ECDSA", "found"),
    "of a type it has not": ("red1 RSA", "wrong host key"),
    "pattern": ("red? KEY", "found"),
    "wrong pattern": ("red* OTHER", "wrong host key"),
    "not for it": ("red*,!red1 OTHER", "found"),
    "hashed other": ("HASH red1 OTHER", "wrong host key"),
    "revoked": ("@revoked * KEY\nred1 KEY", "wrong host key"),
    "other revoked": ("@revoked * OTHER", "found"),
    "authority": ("@cert-authority *.example.org OTHER", "found"),
}


@pytest.mark.parametrize("case", TRUST)
def test_known_hosts_is_read_as_ssh_reads_it(fleet: Fleet, capsys: pytest.CaptureFixture[str], case: str) -> None:
    board = Board(RED["red1"], "red1", 1, two_keys=True)
    fleet.switch_on(board, BOARDS["red2"], BOARDS["red3"])
    text, state = TRUST[case]
    run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "rsa")
    for word, key in {
        "KEY": fleet.host_key(board),
        "ECDSA": fleet.host_key(board, "ecdsa"),
        "OTHER": fleet.host_key(BOARDS["red3"]),
        "RSA": Path("rsa.pub").read_text(encoding="ascii").strip(),
    }.items():
        text = text.replace(word, key)
    # The last line of an edited file may lack its newline.
    write(KNOWN_HOSTS, _hashed(text.removeprefix("HASH ") + "\n") if text.startswith("HASH ") else text)
    before = KNOWN_HOSTS.read_text(encoding="utf-8")
    _, said = search(capsys)
    assert said["result"]["red1"]["state"] == state
    after = KNOWN_HOSTS.read_text(encoding="utf-8")
    assert after.startswith(before)
    # ssh decides as strictly as possible: it accepts the nodes that discovery found, and no other host.
    strict = ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={KNOWN_HOSTS}", "-o", "HostKeyAlias=red1"]
    who = ["-F", "none", "-i", fleet.key, "-p", fleet.port, f"{USER}@{RED['red1']}", "true"]
    done = subprocess.run(
        ["ssh", "-o", "BatchMode=yes", *strict, *map(str, who)], capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (state == "found"), done.stderr


def test_a_host_key_that_changes_between_two_looks_is_not_recorded(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.switch_on(*BOARDS.values())
    other = fleet.host_key(BOARDS["red3"])
    write(KNOWN_HOSTS, "# by hand\n@cert-authority *.example.org ssh-ed25519 AA\n")

    async def sees_another(access: object, address: IPv4Address, name: str, known_hosts: Path) -> bool:
        key = other if name == "red1" else fleet.host_key(BOARDS[name])
        append(known_hosts, f"{name} {key}\n")
        return True

    monkeypatch.setattr(verdict, "is_trusted", sees_another)
    _, said = search(capsys)
    assert said["done"]["wrong_host_key"] == ["red1"]
    assert [line.split()[0] for line in KNOWN_HOSTS.read_text(encoding="utf-8").splitlines()] == [
        "#",
        "@cert-authority",
        "red2",
        "red3",
    ]


@pytest.mark.parametrize(
    ("copy", "what"),
    [
        (Board(RED["red2"], "red2", 2, key="same"), "host key"),
        (Board(RED["red2"], "red2", 2, machine_id=f"{1:032x}"), "machine id"),
        (Board(RED["red2"], "red2", 2, mac="dc:a6:32:00:00:01"), "MAC"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_copied_card_is_a_warning(fleet: Fleet, capsys: pytest.CaptureFixture[str], copy: Board, what: str) -> None:
    fleet.switch_on(Board(RED["red1"], "red1", 1, key="same"), copy, BOARDS["red3"])
    code, said = search(capsys)
    assert code == 0
    assert [warning.split(":")[0] for warning in said["warning"]] == [f"red1 and red2 have the same {what}"]
    # No MAC address is recorded twice.
    macs = [host["node_mac"] for host in hosts().values() if "node_mac" in host]
    assert len(macs) == len(set(macs)) == (1 if what == "MAC" else 3)


def test_machines_without_an_id_are_no_copies(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    blank = [Board(RED[name], name, number, machine_id="uninitialized") for number, name in enumerate(RED)]
    fleet.switch_on(*blank)
    assert search(capsys)[1]["warning"] == []


def test_a_swapped_board_is_noted_and_leaves_no_mac_behind(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values())
    search(capsys)
    for address in (RED["red1"], RED["red2"]):
        fleet.switch_off(address)
    # red1's board broke; its card went into red2's board.
    fleet.switch_on(Board(RED["red1"], "red1", 2, machine_id=f"{1:032x}"))
    code, said = search(capsys)
    assert (code, said["done"]["missing"]) == (1, ["red2"])
    assert "10-nodes.yml: red1 node_mac was dc:a6:32:00:00:01, is now dc:a6:32:00:00:02" in said["note"]
    assert "the board dc:a6:32:00:00:02, recorded for red2, is red1 now" in said["note"]
    assert hosts()["red1"]["node_mac"] == "dc:a6:32:00:00:02"
    assert hosts()["red2"] == {"node_address": RED["red2"]}
