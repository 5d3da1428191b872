"""Discovery, judged by real sshd's on loopback: each has its own host key and its own answers."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cardkit import run
from sshdkit import PI, USER, Board, Fleet
from zeroconf import ServiceInfo, Zeroconf

from picluster import cli, discover, knownhosts
from picluster.discover import leases, login, mdns, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# Each node's reserved address; .2 to .14 are free, so is 127.78.0.0/16, another net.
RED = {f"red{number}": f"127.77.0.{number}" for number in (1, 2, 3)}
BOARDS = {name: Board(address, name, number) for number, (name, address) in enumerate(RED.items(), 1)}
INVENTORY = Path("inventories/red")
NODES = INVENTORY / "10-nodes.yml"
KNOWN_HOSTS = INVENTORY / "known_hosts"


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Boards that are off, and the inventory of red1 to red3; nothing of this machine's own network is asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(leases, "USUAL", ())

    async def nobody(*_: object) -> None:
        """Where there is no multicast."""

    monkeypatch.setattr(mdns, "resolve", nobody)
    with Fleet(tmp_path / "fleet") as made:
        _write(NODES, _nodes_text(RED))
        _write(
            INVENTORY / "group_vars/all/cluster.yml",
            "---\nnode_interface: eth0\nnode_prefix: 28\nnode_gateway: 127.77.0.14\nnode_dns: [127.77.0.14]\n"
            f"node_arch: amd64\ncluster_secret: {'a' * 64}\n",
        )
        _write(
            INVENTORY / "group_vars/nodes/connection.yml",
            "---\nansible_host: '{{ node_address }}'\n"
            f"ansible_user: {USER}\nansible_port: {made.port}\n"
            "ansible_ssh_private_key_file: '{{ inventory_dir }}/../../fleet/id'\n"
            "ansible_ssh_common_args: -o 'UserKnownHostsFile=\"{{ inventory_dir }}/known_hosts\"' "
            "-o HostKeyAlias={{ inventory_hostname }} -o StrictHostKeyChecking=yes\n",
        )
        yield made


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text)


def _nodes_text(nodes: dict[str, str]) -> str:
    lines = "".join(
        f"        # about {name}\n        {name}: {{node_address: {address}}}  # mine\n"
        for name, address in nodes.items()
    )
    return f"---\n# my nodes\nall:\n  children:\n    nodes:\n      hosts:\n{lines}"


def _hosts() -> dict[str, dict[str, str]]:
    hosts: dict[str, dict[str, str]] = yaml.safe_load(NODES.read_text(encoding="utf-8"))["all"]["children"]["nodes"][
        "hosts"
    ]
    return hosts


def _discover(capsys: pytest.CaptureFixture[str], *options: str, timeout: str = "1") -> tuple[int, dict[str, Any]]:
    """Run the command for programs; return its exit code, and the events: results by node, texts of all others."""
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


def _snapshot() -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in INVENTORY.rglob("*") if path.is_file()}


def _facts(board: Board) -> dict[str, str]:
    return {"node_mac": board.shown_mac, "node_serial": board.serial, "node_model": board.model}


def test_nodes_at_their_reserved_addresses_are_found_and_recorded(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.switch_on(*BOARDS.values())
    code, said = _discover(capsys)
    assert (code, said["done"]["found"]) == (0, list(RED))
    assert _hosts() == {name: {"node_address": RED[name], **_facts(board)} for name, board in BOARDS.items()}
    text = NODES.read_text(encoding="utf-8")
    assert [f"# about {name}\n" in text for name in RED] == [True] * 3
    assert text.count("# mine") == 3
    for name, board in BOARDS.items():
        # ssh's own program finds each key under the node's name.
        assert fleet.host_key(board) in run("ssh-keygen", "-F", name, "-f", KNOWN_HOSTS)
        assert said["result"][name]["host_key"] == knownhosts.fingerprint(fleet.host_key(board))
        assert said["result"][name]["host_key"] in run("ssh-keygen", "-l", "-F", name, "-f", KNOWN_HOSTS)
    assert said["result"]["red1"]["model"] == PI
    assert said["result"]["red1"]["arch"] == run("dpkg", "--print-architecture").strip()


def test_a_second_run_changes_nothing(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values())
    _discover(capsys)
    before = _snapshot()
    code, said = _discover(capsys)
    assert (code, said["inventory"]["files"]) == (0, [])
    assert _snapshot() == before


def test_a_dry_run_finds_and_writes_nothing(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values())
    before = _snapshot()
    code, said = _discover(capsys, "--dry-run")
    assert (code, said["done"]["found"]) == (0, list(RED))
    assert said["inventory"]["files"] == [str(KNOWN_HOSTS), str(NODES)]
    assert _snapshot() == before


def test_a_node_in_the_pool_is_reached_there_until_it_is_back(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    pool = Board("127.77.0.9", "red2", 2, key="red2")
    fleet.switch_on(BOARDS["red1"], pool, BOARDS["red3"])
    code, said = _discover(capsys)
    assert (code, said["result"]["red2"]["address"]) == (0, "127.77.0.9")
    assert _hosts()["red2"]["ansible_host"] == "127.77.0.9"
    assert "ansible_host" not in _hosts()["red1"]
    # Ansible reaches it there, by the host key that was recorded, which its arguments demand.
    ansible = Path(sys.executable).with_name("ansible")
    _write(Path("ansible.cfg"), "")
    environment = os.environ | {
        "ANSIBLE_CONFIG": "ansible.cfg",
        "ANSIBLE_INVENTORY_IGNORE_PATTERNS": "^known_hosts",
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",
        "ANSIBLE_SSH_USETTY": "false",
    }
    # The board's home is where its files are.
    asked = [ansible, "red2", "-i", INVENTORY, "-m", "ansible.builtin.raw", "-a", "cat ~/etc/machine-id"]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert f"{2:032x}" in done.stdout, done.stdout + done.stderr

    assert _discover(capsys)[1]["inventory"]["files"] == []
    fleet.switch_off("127.77.0.9")
    fleet.switch_on(Board(RED["red2"], "red2", 2, key="red2"))
    code, said = _discover(capsys)
    assert (code, said["inventory"]["files"]) == (0, [str(NODES)])
    assert _hosts()["red2"] == {"node_address": RED["red2"], **_facts(pool)}
    assert NODES.read_text(encoding="utf-8").count("# mine") == 3


def test_an_ansible_host_of_the_users_own_stays(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    text = NODES.read_text(encoding="utf-8").replace("127.77.0.2}", "127.77.0.2, ansible_host: red2.example.org}")
    NODES.write_text(text, encoding="utf-8")
    fleet.switch_on(BOARDS["red1"], Board("127.77.0.9", "red2", 2), BOARDS["red3"])
    code, said = _discover(capsys)
    assert code == 0
    assert _hosts()["red2"]["ansible_host"] == "red2.example.org"
    assert any("red2.example.org is yours" in note for note in said["note"])


LEASES = """\
1795437000 dc:a6:32:00:00:02 127.78.0.5 * 00:72:65:64:32
1795437000 dc:a6:32:00:00:99 127.78.0.6 printer *
duid 00:01:00:01:2c:aa:bb:cc:02:00:00:00:00:01
1795437000 1 fd00::5 red2 00:01
"""


@pytest.mark.parametrize("place", ["given", "usual"])
def test_a_lease_leads_to_a_node_in_another_net(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    fleet.switch_on(BOARDS["red1"], Board("127.78.0.5", "red2", 2), BOARDS["red3"])
    code, said = _discover(capsys)
    assert (code, said["done"]["missing"]) == (1, ["red2"])
    _write(Path("dnsmasq.leases"), LEASES)
    monkeypatch.setattr(leases, "USUAL", (Path("nowhere"), Path("dnsmasq.leases")) if place == "usual" else ())
    code, said = _discover(capsys, *(("--leases", "dnsmasq.leases") if place == "given" else ()))
    assert (code, said["result"]["red2"]["address"]) == (0, "127.78.0.5")


def test_a_lease_is_a_nodes_by_client_id_name_or_mac_as_dnsmasq_writes_them() -> None:
    text = (
        "1 02:00:00:00:00:01 10.0.0.1 * 00:72:65:64:31\n"  # NetworkManager: \0red1
        "2 02:00:00:00:00:02 10.0.0.2 * 72:65:64:32\n"  # dhcpcd: red2
        "0 02:00:00:00:00:03 10.0.0.3 red3 ff:00:11\n"  # Ubuntu: a name and a DUID
        "4 02:00:00:00:00:04 10.0.0.4 raspberrypi 01:02:00:00:00:00:04\n"
        "5 02:00:00:00:00:05 10.0.0.5 * *\n"
    )
    found = leases.parse(text)
    ours = [str(lease.address) for lease in found if lease.is_of(["red1", "red2", "red3"], ["02:00:00:00:00:04"])]
    assert (len(found), ours) == (5, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"])


def _responder(stack_address: str, port: int) -> Zeroconf:
    """A responder that is no code of ours, which says on the loopback interface where red2.local is."""
    responder = Zeroconf(interfaces=["127.0.0.1"])
    kind = "_workstation._tcp.local."
    packed = [socket.inet_aton(stack_address)]
    responder.register_service(ServiceInfo(kind, f"red2.{kind}", port, addresses=packed, server="red2.local."))
    return responder


def test_multicast_dns_leads_to_a_node_in_another_net(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(fleet.folder.parent)
    monkeypatch.setattr(leases, "USUAL", ())
    monkeypatch.setattr(mdns, "resolve", functools.partial(mdns.resolve, interfaces=["127.0.0.1"]))
    fleet.switch_on(BOARDS["red1"], Board("127.78.0.5", "red2", 2), BOARDS["red3"])
    code, said = _discover(capsys)
    assert (code, said["done"]["missing"]) == (1, ["red2"])
    responder = _responder("127.78.0.5", fleet.port)
    try:
        code, said = _discover(capsys, timeout="5")
    finally:
        responder.close()
    assert (code, said["result"]["red2"]["address"]) == (0, "127.78.0.5")


def test_without_multicast_the_search_goes_on_at_once() -> None:
    found: list[IPv4Address] = []
    begin = time.monotonic()
    # Nobody here has this address, so the socket cannot be made.
    asyncio.run(mdns.resolve(["red1"], found.append, 30, interfaces=["192.0.2.254"]))
    assert found == []
    assert time.monotonic() - begin < 15


def test_nobody_on_the_link_sends_us_out_into_the_world(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def liar(names: object, found: Callable[[IPv4Address], None], *_: object) -> None:
        for address in ("8.8.8.8", "127.78.0.5"):
            found(IPv4Address(address))

    async def knock(address: IPv4Address, *_: object) -> bool:
        asked.append(str(address))
        return False

    monkeypatch.setattr(mdns, "resolve", liar)
    monkeypatch.setattr(discover, "knock", knock)
    _discover(capsys)
    assert "127.78.0.5" in asked
    assert "8.8.8.8" not in asked


def test_two_boards_of_one_name_are_named_and_not_merged(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values(), Board("127.77.0.9", "red2", 9))
    code, said = _discover(capsys)
    assert (code, said["done"]["twice"], said["done"]["found"]) == (1, ["red2"], ["red1", "red3"])
    for mark in ("127.77.0.2", BOARDS["red2"].shown_mac, "127.77.0.9", "dc:a6:32:00:00:09"):
        assert mark in said["err"]
    assert _hosts()["red2"] == {"node_address": RED["red2"]}
    assert "red2" not in KNOWN_HOSTS.read_text(encoding="utf-8")
    assert _hosts()["red1"]["node_mac"] == BOARDS["red1"].shown_mac


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
    assert _discover(capsys)[1]["done"]["twice"] == ["red2"]


def test_one_board_with_two_addresses_is_one(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(BOARDS["red1"], BOARDS["red3"])
    fleet.switch_on(*(Board(address, "red2", 2, key="red2") for address in ("127.77.0.9", RED["red2"])))
    code, said = _discover(capsys)
    assert (code, said["result"]["red2"]["address"]) == (0, RED["red2"])
    # Without its own address it stays where it was found last, though another one comes first.
    fleet.switch_off(RED["red2"])
    _discover(capsys)
    fleet.switch_on(Board("127.77.0.8", "red2", 2, key="red2"))
    assert _discover(capsys)[1]["result"]["red2"]["address"] == "127.77.0.9"


def test_a_wrong_host_key_is_named_and_nothing_is_recorded(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values())
    _write(KNOWN_HOSTS, f"red2 {fleet.host_key(BOARDS['red1'])}\n")
    code, said = _discover(capsys)
    assert (code, said["done"]["wrong_host_key"], said["done"]["found"]) == (1, ["red2"], ["red1", "red3"])
    assert "ssh-keygen -R red2 -f inventories/red/known_hosts" in said["err"]
    assert _hosts()["red2"] == {"node_address": RED["red2"]}
    kept = KNOWN_HOSTS.read_text(encoding="utf-8").splitlines()
    assert [line for line in kept if line.startswith("red2")] == [f"red2 {fleet.host_key(BOARDS['red1'])}"]
    # What the sentence says to do is enough.
    run("ssh-keygen", "-R", "red2", "-f", KNOWN_HOSTS)
    assert _discover(capsys)[0] == 0


def _hashed(text: str) -> str:
    _write(Path("hashed"), text)
    run("ssh-keygen", "-H", "-f", "hashed")
    return Path("hashed").read_text(encoding="utf-8")


# What known_hosts holds (KEY, ECDSA: red1's; OTHER: another of the same type; RSA: of a type that red1 has not).
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
    # The last line of a file that somebody edited may have no end.
    _write(KNOWN_HOSTS, _hashed(text.removeprefix("HASH ") + "\n") if text.startswith("HASH ") else text)
    before = KNOWN_HOSTS.read_text(encoding="utf-8")
    _, said = _discover(capsys)
    assert said["result"]["red1"]["state"] == state
    after = KNOWN_HOSTS.read_text(encoding="utf-8")
    assert after.startswith(before)
    # Judged by ssh itself, as strictly as can be: whom discovery calls found is let in from now on, and nobody else.
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
    _write(KNOWN_HOSTS, "# by hand\n@cert-authority *.example.org ssh-ed25519 AA\n")

    async def sees_another(access: object, address: IPv4Address, name: str, known_hosts: Path) -> bool:
        key = other if name == "red1" else fleet.host_key(BOARDS[name])
        _append(known_hosts, f"{name} {key}\n")
        return True

    monkeypatch.setattr(verdict, "is_trusted", sees_another)
    _, said = _discover(capsys)
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
    code, said = _discover(capsys)
    assert code == 0
    assert [warning.split(":")[0] for warning in said["warning"]] == [f"red1 and red2 have the same {what}"]
    # No MAC stands in the inventory twice.
    macs = [host["node_mac"] for host in _hosts().values() if "node_mac" in host]
    assert len(macs) == len(set(macs)) == (1 if what == "MAC" else 3)


def test_machines_without_an_id_are_no_copies(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    blank = [Board(RED[name], name, number, machine_id="uninitialized") for number, name in enumerate(RED)]
    fleet.switch_on(*blank)
    assert _discover(capsys)[1]["warning"] == []


def test_strangers_are_counted_and_silent_hosts_are_passed_by(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values(), Board("127.77.0.10", "red3", 10, ours=False))
    fleet.mute("127.77.0.11")
    fleet.silent("127.77.0.12")
    begin = time.monotonic()
    assert not asyncio.run(discover.knock(IPv4Address("127.77.0.12"), fleet.port, 0.3))
    assert time.monotonic() - begin > 0.29, "it is not silent"
    code, said = _discover(capsys)
    assert (code, said["done"]["found"], said["done"]["strangers"]) == (0, list(RED), 2)


def test_missing_nodes_are_named_with_what_is_known_of_them(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    locked = Board("127.77.0.9", "red2", 2, ours=False)
    fleet.switch_on(locked, Board(RED["red1"], "red1", 1, ours=False))
    fleet.mute(RED["red3"])
    _write(KNOWN_HOSTS, f"red2 {fleet.host_key(locked)}\n")
    code, said = _discover(capsys, timeout="0.5")
    assert (code, said["done"]["missing"]) == (1, list(RED))
    assert f"red1 is missing: its address 127.77.0.1 refuses {USER}'s key" in said["err"]
    assert f"red2 is missing: its host key is at 127.77.0.9, which refuses {USER}'s key" in said["err"]
    assert "red3 is missing: its address 127.77.0.3 gives no login (no answer within 2.5 s)" in said["err"]


def test_a_board_whose_name_is_not_in_the_inventory_is_noted(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values(), Board("127.77.0.9", "raspberrypi", 9))
    code, said = _discover(capsys)
    assert code == 0
    assert any("127.77.0.9 calls itself raspberrypi" in note for note in said["note"])


def test_a_swapped_board_is_noted_and_leaves_no_mac_behind(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values())
    _discover(capsys)
    for address in (RED["red1"], RED["red2"]):
        fleet.switch_off(address)
    # red1's board broke; its card went into red2's board.
    fleet.switch_on(Board(RED["red1"], "red1", 2, machine_id=f"{1:032x}"))
    code, said = _discover(capsys)
    assert (code, said["done"]["missing"]) == (1, ["red2"])
    assert "10-nodes.yml: red1 node_mac was dc:a6:32:00:00:01, is now dc:a6:32:00:00:02" in said["note"]
    assert "the board dc:a6:32:00:00:02, which was red2's, is red1's now" in said["note"]
    assert _hosts()["red1"]["node_mac"] == "dc:a6:32:00:00:02"
    assert _hosts()["red2"] == {"node_address": RED["red2"]}


def test_a_large_net_is_searched_only_where_asked(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    settings = INVENTORY / "group_vars/all/cluster.yml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("prefix: 28", "prefix: 19"), encoding="utf-8")
    fleet.switch_on(BOARDS["red1"], Board("127.77.9.2", "red2", 2), BOARDS["red3"])
    code, said = _discover(capsys)
    assert (code, said["done"]["missing"]) == (1, ["red2"])
    assert [note for note in said["note"] if "127.77.0.0/19 is larger than the /20" in note and "--net" in note]
    code, said = _discover(capsys, "--net", "127.77.8.0/24", "--net", "127.77.9.0/30")
    assert (code, said["result"]["red2"]["address"]) == (0, "127.77.9.2")
    assert said["note"] == []


def test_a_node_found_elsewhere_is_looked_for_there_again(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(BOARDS["red1"], Board("127.78.9.2", "red2", 2), BOARDS["red3"])
    assert _discover(capsys, "--net", "127.78.9.2/32")[0] == 0
    assert _discover(capsys)[0] == 0


def test_people_get_a_table_and_plain_lines(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(BOARDS["red1"], Board("127.77.0.9", "red2", 2))
    assert cli.main(["discover", "red", "--timeout", "1"]) == 1
    said = capsys.readouterr()
    lines = [line.split("  ") for line in said.out.splitlines()]
    table = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert table[:4] == [
        ["node", "address", "MAC", "model", "state"],
        ["red1", "127.77.0.1", "dc:a6:32:00:00:01", PI, "found"],
        ["red2", "127.77.0.9", "dc:a6:32:00:00:02", PI, "found; reserved is 127.77.0.2"],
        ["red3", "-", "missing"],
    ]
    assert said.out.splitlines()[-1] == "found 2 of 3 nodes; missing: red3"
    assert "red1: done" in said.err
    assert "\x1b" not in said.out + said.err


BAD: dict[str, tuple[Sequence[str], str]] = {
    "no such cluster": (["blue"], "there is no inventories/blue/10-nodes.yml"),
    "cluster's name": (["../red"], "CLUSTER '../red' is not a cluster name"),
    "no cluster": ([], "required: CLUSTER"),
    "net": (["red", "--net", "127.77.0.x"], "--net '127.77.0.x' is not an IPv4 net"),
    "prefix": (["red", "--net", "127.77.0.0/40"], "is not an IPv4 net"),
    "IPv6": (["red", "--net", "fd00::/64"], "is not an IPv4 net"),
    "huge net": (["red", "--net", "127.0.0.0/9"], "--net has 8,388,608 addresses: at most 65,536"),
    "nets huge together": (["red", "--net", "127.1.0.0/16", "--net", "127.2.0.1"], "65,537 addresses"),
    "no leases": (["red", "--leases", "none"], "--leases none cannot be read: No such file"),
    "leases folder": (["red", "--leases", "inventories"], "--leases inventories cannot be read: Is a directory"),
    "no lease file": (["red", "--leases", str(NODES)], "is not a leases file of dnsmasq: line 1 wants expiry"),
    "no text": (["red", "--leases", "/bin/true"], "/bin/true is not a leases file of dnsmasq: it is not text"),
    "timeout": (["red", "--timeout", "soon"], "invalid float value: 'soon'"),
    "no time": (["red", "--timeout", "0"], "--timeout 0 is not possible"),
    "no number": (["red", "--timeout", "nan"], "--timeout nan is not possible"),
    "inventories": (["red", "--inventories", "elsewhere"], "there is no elsewhere/red/10-nodes.yml"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_ends_in_one_sentence(fleet: Fleet, capsys: pytest.CaptureFixture[str], what: str) -> None:
    arguments, says = BAD[what]
    before = _snapshot()
    assert cli.main(["discover", *arguments]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert _snapshot() == before


CONNECTION = "group_vars/nodes/connection.yml"
BROKEN = {
    "key": (CONNECTION, "ansible_ssh_private_key_file: /none/id\n", "there is no private key /none/id"),
    "template": (CONNECTION, "ansible_user: '{{ me }}'\n", "ansible_user '{{ me }}' is more than picluster can read"),
    "user": (CONNECTION, "ansible_user: -oProxyCommand=x\n", "more than picluster can read"),
    "port": (CONNECTION, "ansible_port: ssh\n", "ansible_port 'ssh' is not a port"),
    "high port": (CONNECTION, "ansible_port: 65536\n", "ansible_port 65536 is not a port"),
    "prefix": ("group_vars/all/cluster.yml", "node_prefix: 40\n", "node_prefix 40 is not a number from 8 to 30"),
    "interface": ("group_vars/all/cluster.yml", "node_interface: $(reboot)\n", "is not a network interface"),
    "address": (
        "10-nodes.yml",
        "all: {children: {nodes: {hosts: {red8: {node_address: x}}}}}\n",
        "red8's node_address",
    ),
    "no nodes": ("10-nodes.yml", "all: {children: {nodes: {hosts: {}}}}\n", "has no node with an address"),
    "no YAML": ("10-nodes.yml", "all: [\n", "is not YAML"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_inventory_that_cannot_be_used_ends_in_one_sentence(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    file, text, says = BROKEN[what]
    _write(INVENTORY / file, text)
    assert cli.main(["discover", "red"]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1


def test_without_ssh_it_says_what_to_install(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert cli.main(["discover", "red"]) == 2
    assert "install OpenSSH's client" in capsys.readouterr().err


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
    _discover(capsys)
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
    assert _discover(capsys)[1]["result"]["red1"]["mac"] == BOARDS["red1"].shown_mac


def test_the_question_is_answered_by_this_very_machine_in_plain_sh() -> None:
    shell = shutil.which("dash") or "sh"
    done = subprocess.run([shell, "-s", "--", "lo"], input=login._QUESTION, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    answer = login.parse(done.stdout)
    assert answer is not None
    assert answer.name == socket.gethostname().split(".")[0].lower()
    assert answer.arch == run("dpkg", "--print-architecture").strip()


def test_the_question_is_sound_for_shellcheck(tmp_path: Path) -> None:
    (tmp_path / "question.sh").write_text(f"#!/bin/sh\n{login._QUESTION}", encoding="utf-8")
    run("shellcheck", tmp_path / "question.sh")


@pytest.mark.parametrize("trust_machine", [True, False])
def test_ssh_is_told_to_ask_nobody_and_to_share_nothing(tmp_path: Path, *, trust_machine: bool) -> None:
    access = login.Access("me", tmp_path / "a key", 2222, "eth0", 7.5, tmp_path)
    known_hosts = tmp_path / "a folder" / "hosts"
    _write(tmp_path / "a key", "")
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
        "connecttimeout": "8",
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


def test_an_interrupted_search_writes_nothing_and_leaves_no_login_behind(fleet: Fleet) -> None:
    before = _snapshot()
    with socket.create_server((RED["red1"], fleet.port)) as server:
        searching = subprocess.Popen(
            [sys.executable, "-m", "picluster", "discover", "red", "--net", "127.77.0.1/32", "--timeout", "60"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        server.accept()[0].close()  # the knock
        ssh, _ = server.accept()
        with ssh:
            searching.send_signal(signal.SIGINT)
            _, said = searching.communicate(timeout=60)
            ssh.settimeout(60)
            while ssh.recv(1024):
                """Until ssh is gone."""
    assert searching.returncode == 130
    assert said == "picluster: interrupted; run the same command again\n"
    assert _snapshot() == before


def test_a_login_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    slow = ["sh", "-c", f"echo $$ >{pid}.new && mv {pid}.new {pid} && exec sleep 600"]
    assert asyncio.run(login._run(slow, "", 3)) == (None, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text(encoding="ascii")), 0)
