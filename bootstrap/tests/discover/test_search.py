"""Discovery with real sshd processes on loopback: which nodes are found at which address, and what is recorded."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cardkit import run
from discoverkit import BOARDS, INVENTORY, KNOWN_HOSTS, NODES, RED, facts, hosts, search, snapshot, write
from sshdkit import PI, USER, Board, Fleet
from zeroconf import ServiceInfo, Zeroconf

from picluster import cli, discover
from picluster.discover import leases, mdns
from picluster.inventory import known_hosts

if TYPE_CHECKING:
    from collections.abc import Callable


def test_nodes_at_their_reserved_addresses_are_found_and_recorded(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.switch_on(*BOARDS.values())
    code, said = search(capsys)
    assert (code, said["done"]["found"]) == (0, list(RED))
    assert hosts() == {name: {"node_address": RED[name], **facts(board)} for name, board in BOARDS.items()}
    text = NODES.read_text(encoding="utf-8")
    assert [f"# about {name}\n" in text for name in RED] == [True] * 3
    assert text.count("# mine") == 3
    for name, board in BOARDS.items():
        # ssh-keygen finds each key under the name of the node.
        assert fleet.host_key(board) in run("ssh-keygen", "-F", name, "-f", KNOWN_HOSTS)
        assert said["result"][name]["host_key"] == known_hosts.fingerprint(fleet.host_key(board))
        assert said["result"][name]["host_key"] in run("ssh-keygen", "-l", "-F", name, "-f", KNOWN_HOSTS)
    assert said["result"]["red1"]["model"] == PI
    assert said["result"]["red1"]["arch"] == run("dpkg", "--print-architecture").strip()


def test_a_second_run_changes_nothing(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values())
    search(capsys)
    before = snapshot()
    code, said = search(capsys)
    assert (code, said["inventory"]["files"]) == (0, [])
    assert snapshot() == before


def test_a_dry_run_finds_and_writes_nothing(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values())
    before = snapshot()
    code, said = search(capsys, "--dry-run")
    assert (code, said["done"]["found"]) == (0, list(RED))
    assert said["inventory"]["files"] == [str(INVENTORY / ".gitignore"), str(KNOWN_HOSTS), str(NODES)]
    assert snapshot() == before


def test_a_node_in_the_pool_is_reached_there_until_it_is_back(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    pool = Board("127.77.0.9", "red2", 2, key="red2")
    fleet.switch_on(BOARDS["red1"], pool, BOARDS["red3"])
    code, said = search(capsys)
    assert (code, said["result"]["red2"]["address"]) == (0, "127.77.0.9")
    assert hosts()["red2"]["ansible_host"] == "127.77.0.9"
    assert "ansible_host" not in hosts()["red1"]
    # Ansible connects to it there, and requires the host key that was recorded.
    ansible = Path(sys.executable).with_name("ansible")
    write(Path("ansible.cfg"), "")
    environment = os.environ | {
        "ANSIBLE_CONFIG": "ansible.cfg",
        "ANSIBLE_INVENTORY_IGNORE_PATTERNS": "^known_hosts",
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",
        "ANSIBLE_SSH_USETTY": "false",
    }
    # The home of the board contains its files.
    asked = [ansible, "red2", "-i", INVENTORY, "-m", "ansible.builtin.raw", "-a", "cat ~/etc/machine-id"]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert f"{2:032x}" in done.stdout, done.stdout + done.stderr

    assert search(capsys)[1]["inventory"]["files"] == []
    fleet.switch_off("127.77.0.9")
    fleet.switch_on(Board(RED["red2"], "red2", 2, key="red2"))
    code, said = search(capsys)
    assert (code, said["inventory"]["files"]) == (0, [str(NODES)])
    assert hosts()["red2"] == {"node_address": RED["red2"], **facts(pool)}
    assert NODES.read_text(encoding="utf-8").count("# mine") == 3


def test_an_ansible_host_of_the_users_own_stays(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    text = NODES.read_text(encoding="utf-8").replace("127.77.0.2}", "127.77.0.2, ansible_host: red2.example.org}")
    NODES.write_text(text, encoding="utf-8")
    fleet.switch_on(BOARDS["red1"], Board("127.77.0.9", "red2", 2), BOARDS["red3"])
    code, said = search(capsys)
    assert code == 0
    assert hosts()["red2"]["ansible_host"] == "red2.example.org"
    assert any("red2.example.org was not changed" in note for note in said["note"])


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
    code, said = search(capsys)
    assert (code, said["done"]["missing"]) == (1, ["red2"])
    write(Path("dnsmasq.leases"), LEASES)
    monkeypatch.setattr(leases, "USUAL", (Path("nowhere"), Path("dnsmasq.leases")) if place == "usual" else ())
    code, said = search(capsys, *(("--leases", "dnsmasq.leases") if place == "given" else ()))
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
    """Run an mDNS responder of another project, which resolves red2.local on the loopback interface."""
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
    code, said = search(capsys)
    assert (code, said["done"]["missing"]) == (1, ["red2"])
    responder = _responder("127.78.0.5", fleet.port)
    try:
        code, said = search(capsys, timeout="5")
    finally:
        responder.close()
    assert (code, said["result"]["red2"]["address"]) == (0, "127.78.0.5")


def test_without_multicast_the_search_goes_on_at_once() -> None:
    found: list[IPv4Address] = []
    begin = time.monotonic()
    # This machine does not have the address, so the socket cannot be bound.
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
    search(capsys)
    assert "127.78.0.5" in asked
    assert "8.8.8.8" not in asked


def test_strangers_are_counted_and_silent_hosts_are_passed_by(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values(), Board("127.77.0.10", "red3", 10, ours=False))
    fleet.mute("127.77.0.11")
    fleet.silent("127.77.0.12")
    begin = time.monotonic()
    assert not asyncio.run(discover.knock(IPv4Address("127.77.0.12"), fleet.port, 0.3))
    assert time.monotonic() - begin > 0.29, "it is not silent"
    code, said = search(capsys, timeout="1.5")
    assert (code, said["done"]["found"], said["done"]["strangers"]) == (0, list(RED), 2)


def test_missing_nodes_are_named_with_what_is_known_of_them(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    locked = Board("127.77.0.9", "red2", 2, ours=False)
    fleet.switch_on(locked, Board(RED["red1"], "red1", 1, ours=False))
    fleet.mute(RED["red3"])
    write(KNOWN_HOSTS, f"red2 {fleet.host_key(locked)}\n")
    code, said = search(capsys, timeout="1")
    assert (code, said["done"]["missing"]) == (1, list(RED))
    assert f"red1 is missing: its address 127.77.0.1 refuses the key of {USER}" in said["err"]
    assert f"red2 is missing: its host key is at 127.77.0.9, which refuses the key of {USER}" in said["err"]
    assert "red3 is missing: its address 127.77.0.3 does not allow a login (no answer within 5 s)" in said["err"]


def test_a_board_whose_name_is_not_in_the_inventory_is_noted(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(*BOARDS.values(), Board("127.77.0.9", "raspberrypi", 9))
    code, said = search(capsys)
    assert code == 0
    assert any("127.77.0.9 has the name raspberrypi" in note for note in said["note"])


def test_a_large_net_is_searched_only_where_asked(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    settings = INVENTORY / "group_vars/all/cluster.yml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("prefix: 28", "prefix: 19"), encoding="utf-8")
    fleet.switch_on(BOARDS["red1"], Board("127.77.9.2", "red2", 2), BOARDS["red3"])
    code, said = search(capsys)
    assert (code, said["done"]["missing"]) == (1, ["red2"])
    assert [note for note in said["note"] if "127.77.0.0/19 is larger than the /20" in note and "--net" in note]
    code, said = search(capsys, "--net", "127.77.8.0/24", "--net", "127.77.9.0/30")
    assert (code, said["result"]["red2"]["address"]) == (0, "127.77.9.2")
    assert said["note"] == []


def test_a_node_found_elsewhere_is_looked_for_there_again(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(BOARDS["red1"], Board("127.78.9.2", "red2", 2), BOARDS["red3"])
    assert search(capsys, "--net", "127.78.9.2/32")[0] == 0
    assert search(capsys)[0] == 0


def test_people_get_a_table_and_plain_lines(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.switch_on(BOARDS["red1"], Board("127.77.0.9", "red2", 2))
    assert cli.main(["discover", "red", "--timeout", "3"]) == 1
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


def test_an_interrupted_search_writes_nothing_and_leaves_no_login_behind(fleet: Fleet) -> None:
    before = snapshot()
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
    assert snapshot() == before
