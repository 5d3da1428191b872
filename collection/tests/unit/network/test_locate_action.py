"""The action that finds nodes: what it asks, keeps and refuses, on an inventory as Ansible reads it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ansible_collections.picluster.cloud.plugins.action import locate
from ansible_collections.picluster.cloud.plugins.plugin_utils.network import locate as located
from ansible_collections.picluster.cloud.plugins.plugin_utils.node import known_hosts
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = {"red1": "ssh-ed25519 AAAA", "red2": "ssh-ed25519 BBBB"}
NODES = """
all:
  vars: {{node_prefix: 24, node_gateway: 10.0.0.1, node_dns: [10.0.0.1]}}
  children:
    nodes:
      vars: {{ansible_host: "{{{{ node_address }}}}"}}
      hosts:
        red1: {{node_address: {0}}}
        red2: {{node_address: {1}}}
"""
Answers = dict[str, str]


class Network:
    """Machines that show host keys, in ssh-keyscan's stead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: Answers = {}
        self.asked: list[list[str]] = []
        monkeypatch.setattr(known_hosts, "_output", self._output)

    def _output(self, command: list[str], text: str, seconds: int) -> str:
        self.asked.append([*command, *text.split()])
        return "".join(f"{host} {self.answers[host]}\n" for host in text.split() if host in self.answers)


class Clock:
    """A clock that is put forward by whoever sleeps; something may happen at a time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.at: dict[float, Callable[[], None]] = {}

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for time in [time for time in self.at if time <= self.now]:
            self.at.pop(time)()


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "10.0.0.11", "10.0.0.12")
    (tmp_path / "known_hosts").write_text("".join(f"{name} {key}\n" for name, key in KEYS.items()))
    return tmp_path


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(located.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(located.time, "sleep", made.sleep)
    return made


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose masters were closed, and at which address."""
    done: list[str] = []

    def note(_loader: Any, _context: Any, variables: Any, addresses: tuple[str, ...]) -> None:
        done.extend(f"{variables['inventory_hostname']} {address}" for address in addresses)

    monkeypatch.setattr(locate, "close_masters", note)
    return done


def write(folder: Path, *addresses: str) -> None:
    (folder / "10-nodes.yml").write_text(NODES.format(*addresses))


def seen(folder: Path, **addresses: list[str]) -> None:
    with Seen(folder).edit() as nodes:
        for name, those in addresses.items():
            nodes.setdefault(name, {})["addresses"] = those


def known(folder: Path) -> dict[str, list[str]]:
    return {name: node["addresses"] for name, node in Seen(folder).nodes().items()}


def run(folder: Path, *, check: bool = False, **extra: Any) -> dict[str, Any]:
    loader = DataLoader()
    loader.set_basedir(str(folder))
    manager = InventoryManager(loader, sources=[str(folder / "10-nodes.yml")])
    hostvars = HostVars(manager, VariableManager(loader, manager), loader)
    nodes = {name: hostvars.raw_get(name)["node_address"] for name in manager.get_groups_dict()["nodes"]}
    task = MagicMock(args={"nodes": nodes}, async_val=0, check_mode=check)
    action = locate.ActionModule(task, MagicMock(), MagicMock(check_mode=check), loader, MagicMock(), MagicMock())
    result: dict[str, Any] = action.run(task_vars={"hostvars": hostvars, **extra})
    assert result["changed"] is False
    return result


def test_an_ordinary_run_asks_nobody_and_keeps_where_the_nodes_are(folder: Path, network: Network) -> None:
    result = run(folder)
    assert (result["hosts"], result["vacate"], network.asked) == ({}, {}, [])
    assert known(folder) == {"red1": ["10.0.0.11"], "red2": ["10.0.0.12"]}
    before = Seen(folder).path.stat()
    run(folder)
    assert Seen(folder).path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_node_whose_address_was_changed_is_found_where_it_was(folder: Path, network: Network) -> None:
    run(folder)
    write(folder, "10.0.0.21", "10.0.0.12")
    network.answers = {"10.0.0.11": KEYS["red1"], "10.0.0.12": KEYS["red2"]}
    result = run(folder)
    assert result["hosts"] == {"red1": "10.0.0.11"}
    assert result["vacate"] == {}
    # Both, the newest first: a run that is killed on the way must be able to find it at either.
    assert known(folder)["red1"] == ["10.0.0.11", "10.0.0.21"]
    (command,) = network.asked
    assert command == ["ssh-keyscan", "-T", "5", "-p", "22", "-t", "ed25519", "-f", "-", "10.0.0.11", "10.0.0.21"]


def test_connections_that_an_earlier_run_kept_open_are_closed_where_there_is_a_doubt(
    folder: Path, network: Network, closed: list[str]
) -> None:
    run(folder)
    assert closed == []
    write(folder, "10.0.0.21", "10.0.0.12")
    network.answers = {"10.0.0.11": KEYS["red1"]}
    run(folder)
    assert closed == ["red1 10.0.0.21", "red1 10.0.0.11"]


def test_a_swap_parks_both_and_knows_it_before(folder: Path, network: Network) -> None:
    run(folder)
    write(folder, "10.0.0.12", "10.0.0.11")
    network.answers = {"10.0.0.11": KEYS["red1"], "10.0.0.12": KEYS["red2"]}
    result = run(folder)
    assert result["vacate"] == {
        "red1": {"address": "10.0.0.254", "parked": True, "prefix": 24, "gateway": "10.0.0.1"}
        | {"dns": ["10.0.0.1"], "search": []},
        "red2": {"address": "10.0.0.253", "parked": True, "prefix": 24, "gateway": "10.0.0.1"}
        | {"dns": ["10.0.0.1"], "search": []},
    }
    assert known(folder) == {
        "red1": ["10.0.0.11", "10.0.0.254", "10.0.0.12"],
        "red2": ["10.0.0.12", "10.0.0.253", "10.0.0.11"],
    }


def test_a_run_that_was_killed_in_a_swap_is_gone_on_with(folder: Path, network: Network) -> None:
    write(folder, "10.0.0.12", "10.0.0.11")
    seen(folder, red1=["10.0.0.11", "10.0.0.254", "10.0.0.12"], red2=["10.0.0.12", "10.0.0.253", "10.0.0.11"])
    network.answers = {"10.0.0.254": KEYS["red1"], "10.0.0.12": KEYS["red2"]}
    result = run(folder)
    assert result["hosts"] == {"red1": "10.0.0.254", "red2": "10.0.0.12"}
    assert {name: (move["address"], move["parked"]) for name, move in result["vacate"].items()} == {
        "red2": ("10.0.0.11", False)
    }


def test_a_parking_place_that_was_in_use_is_not_tried_again(folder: Path, network: Network) -> None:
    write(folder, "10.0.0.12", "10.0.0.11")
    seen(folder, red1=["10.0.0.11", "10.0.0.254"], red2=["10.0.0.12", "10.0.0.253"])
    network.answers = {"10.0.0.11": KEYS["red1"], "10.0.0.12": KEYS["red2"]}
    assert [move["address"] for move in run(folder)["vacate"].values()] == ["10.0.0.252", "10.0.0.251"]


def test_the_first_run_after_a_change_asks_once(folder: Path, network: Network, clock: Clock) -> None:
    seen(folder, red1=["10.0.0.19"])
    network.answers = {"10.0.0.19": KEYS["red1"]}
    assert run(folder)["hosts"] == {"red1": "10.0.0.19"}
    assert (len(network.asked), clock.now) == (1, 0)


def test_a_move_that_a_killed_run_left_is_waited_for(folder: Path, network: Network, clock: Clock) -> None:
    seen(folder, red1=["10.0.0.19", "10.0.0.11"])
    network.answers = {"10.0.0.19": KEYS["red1"], "10.0.0.11": KEYS["red1"]}
    clock.at[50] = lambda: network.answers.pop("10.0.0.11") and None
    assert run(folder)["hosts"] == {"red1": "10.0.0.19"}
    assert 50 <= clock.now < 60


def test_a_node_that_is_asked_while_it_moves_is_asked_again(folder: Path, network: Network, clock: Clock) -> None:
    seen(folder, red1=["10.0.0.19", "10.0.0.11"])
    network.answers = {"10.0.0.11": KEYS["red1"]}

    def go_back() -> None:
        network.answers = {"10.0.0.19": KEYS["red1"]}

    clock.at[2] = go_back
    assert run(folder)["hosts"] == {"red1": "10.0.0.19"}


def test_a_silent_node_that_others_wait_for_is_given_its_time(folder: Path, network: Network, clock: Clock) -> None:
    write(folder, "10.0.0.12", "10.0.0.11")
    seen(folder, red1=["10.0.0.11", "10.0.0.254"], red2=["10.0.0.12", "10.0.0.253"])
    network.answers = {"10.0.0.12": KEYS["red2"]}
    clock.at[30] = lambda: network.answers.update({"10.0.0.11": KEYS["red1"]})
    assert run(folder)["hosts"] == {"red1": "10.0.0.11", "red2": "10.0.0.12"}
    assert 30 <= clock.now < 40


def test_a_silent_node_that_nobody_waits_for_delays_nobody(folder: Path, network: Network, clock: Clock) -> None:
    seen(folder, red1=["10.0.0.19", "10.0.0.11"])
    assert run(folder)["hosts"] == {}
    assert clock.now == located.PAUSE


def test_a_node_that_keeps_two_addresses_is_waited_for_no_longer_than_a_move_may_take(
    folder: Path, network: Network, clock: Clock
) -> None:
    write(folder, "10.0.0.11, network_confirm_within: 100", "10.0.0.12")
    seen(folder, red1=["10.0.0.19", "10.0.0.11"])
    network.answers = {"10.0.0.19": KEYS["red1"], "10.0.0.11": KEYS["red1"]}
    assert run(folder)["hosts"] == {"red1": "10.0.0.11"}
    assert 100 < clock.now < 130


def test_an_address_of_the_inventorys_own_is_no_move(folder: Path, network: Network, clock: Clock) -> None:
    write(folder, "10.0.0.11, ansible_host: 10.0.0.77", "10.0.0.12")
    network.answers = {"10.0.0.77": KEYS["red1"], "10.0.0.11": KEYS["red1"]}
    assert run(folder)["hosts"] == {"red1": "10.0.0.11"}
    assert clock.now == 0


def test_check_mode_finds_and_keeps_nothing(folder: Path, network: Network) -> None:
    seen(folder, red1=["10.0.0.19"])
    network.answers = {"10.0.0.19": KEYS["red1"]}
    assert run(folder, check=True)["hosts"]["red1"] == "10.0.0.19"
    assert known(folder) == {"red1": ["10.0.0.19"]}


def test_a_node_that_is_nowhere_is_left_to_the_inventory(folder: Path, network: Network) -> None:
    seen(folder, red1=["10.0.0.19"])
    assert run(folder)["hosts"] == {}
    assert known(folder)["red1"] == ["10.0.0.19"]


def test_the_address_of_a_silent_node_is_refused_to_others(folder: Path, network: Network) -> None:
    run(folder)
    write(folder, "10.0.0.12", "10.0.0.11")
    network.answers = {"10.0.0.11": KEYS["red1"]}
    with pytest.raises(AnsibleActionFail, match=r"red2 does not answer: its last address 10.0.0.12"):
        run(folder)
    assert run(folder, ansible_limit="localhost,red1")["hosts"]["red1"] == "10.0.0.11"


def test_no_place_to_park_is_refused_before_any_node_is_touched(folder: Path, network: Network) -> None:
    run(folder)
    write(folder, "10.0.0.12", "10.0.0.11, network_parking: 10.0.0.1-10.0.0.1")
    network.answers = {"10.0.0.11": KEYS["red1"], "10.0.0.12": KEYS["red2"]}
    with pytest.raises(
        AnsibleActionFail,
        match=r"red1 cannot be parked: it must leave 10.0.0.11 .* network_parking .*; no node was touched",
    ):
        run(folder)


@pytest.mark.parametrize(
    "setting",
    [
        "ansible_host: red1.example.org",
        "ansible_ssh_common_args: -o ProxyJump=gate",
        "ansible_ssh_extra_args: -J gate",
        "ansible_connection: local",
    ],
)
def test_who_is_reached_in_a_way_of_the_users_own_is_left_to_it(folder: Path, network: Network, setting: str) -> None:
    seen(folder, red1=["10.0.0.19"])
    write(folder, f"10.0.0.11, {setting}", "10.0.0.12")
    assert run(folder)["hosts"] == {}
    assert not network.asked


def test_where_discovery_found_a_node_is_asked_too(folder: Path, network: Network) -> None:
    write(folder, "10.0.0.11, ansible_host: 10.0.0.77, ansible_port: 2222", "10.0.0.12")
    network.answers = {"10.0.0.77": KEYS["red1"]}
    assert run(folder)["hosts"]["red1"] == "10.0.0.77"
    assert network.asked[0][4] == "2222"


def test_an_own_address_that_is_out_of_date_is_told(
    folder: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    # Plugins of collections are loaded by the command line only; here they would be one more warning.
    monkeypatch.setattr(constants, "INVENTORY_ENABLED", ["yaml"])
    monkeypatch.setattr(locate.Display, "warning", lambda _self, text: told.append(text))
    write(folder, "10.0.0.11, ansible_host: 10.0.0.77", "10.0.0.12")
    network.answers = {"10.0.0.11": KEYS["red1"]}
    assert run(folder)["hosts"]["red1"] == "10.0.0.11"
    assert told == ["red1 is at its node_address now; remove its ansible_host 10.0.0.77 from the inventory"]


def test_a_record_that_cannot_be_written_stops_only_moves(
    folder: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    run(folder)
    monkeypatch.setattr("ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen.write_atomically", refuse)
    write(folder, "10.0.0.21", "10.0.0.12")
    network.answers = {"10.0.0.11": KEYS["red1"], "10.0.0.12": KEYS["red2"]}
    assert run(folder)["hosts"]["red1"] == "10.0.0.11"
    write(folder, "10.0.0.12", "10.0.0.11")
    with pytest.raises(
        AnsibleActionFail, match=r"cannot be recorded: .*seen.json: Permission denied; without the record no node"
    ):
        run(folder)


def test_a_controller_without_keyscan_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    seen(folder, red1=["10.0.0.19"])
    monkeypatch.setattr(subprocess, "run", missing)
    with pytest.raises(AnsibleActionFail, match="ssh-keyscan cannot be run"):
        run(folder)


def test_what_a_slow_scan_has_heard_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(command: list[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 1, output=b"10.0.0.1 ssh-ed25519 AAAA\n")

    monkeypatch.setattr(subprocess, "run", slow)
    assert known_hosts.scan([("10.0.0.1", 22)], ["ssh-ed25519"], 5) == {("10.0.0.1", 22): {"ssh-ed25519 AAAA"}}
