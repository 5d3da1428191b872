"""Putting an address into effect: what is checked first, what is armed, what happens when it does not work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fakeguard import FakeGuard
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.network import apply
from ansible_collections.picluster.cloud.plugins.module_utils.network.apply import NM_CONF, NM_PENDING, StaticAddress
from ansible_collections.picluster.cloud.plugins.module_utils.network.managers import Manager
from ansible_collections.picluster.cloud.plugins.module_utils.network.plan import Live
from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import read_settings
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.modules import static_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., "Board"]

SETTINGS = read_settings(interface="eth0", address="192.168.63.11", prefix=24, gateway="192.168.63.1")
LEASE = Live("eth0", "192.168.63.11", 24, static=False)
OWN = Live("eth0", "192.168.63.11", 24, static=True)
ELSEWHERE = Live("eth0", "192.168.63.150", 24, static=True)
PATH = "/etc/netplan/60-picluster.yaml"
OPTIONS = {"confirm_within": 60, "confirm_token": "a" * 32, "wait_for_address": 15, "timeout": 0}


class FakeManager(Manager):
    """A manager whose `apply` makes the address static, or not, or fails."""

    name, path, text = "fake", PATH, "new\n"

    def __init__(self, outcome: str, log: list[str], live: Live) -> None:
        self.outcome, self.log, self.live = outcome, log, live

    def try_out(self) -> None:
        if self.outcome == "refused":
            raise UserError("netplan does not accept it")

    def active(self) -> str:
        return "before"

    def apply(self, *, moving: bool) -> None:
        self.log.append("move" if moving else "apply")
        if self.outcome == "bug":
            raise ValueError("not JSON")
        if self.outcome == "error":
            raise UserError("nmcli failed")
        if self.outcome == "works":
            self.live = OWN

    def checkpoint(self) -> str:
        return "cp1"

    def back(self, former: str, checkpoint: str) -> list[list[str]]:
        return [["back", former, checkpoint]]

    def at_confirm(self, checkpoint: str) -> list[list[str]]:
        return [["destroy", checkpoint]]

    def at_boot(self) -> list[list[str]]:
        return [["generate"]]


class Board(FakeNode):
    """A node with one interface, and in `log` everything that was done to it in order."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, outcome: str = "works", **more: Any) -> None:
        super().__init__(root, check_mode=more.get("check_mode", False))
        self.log = self.commands
        for folder in ("sys/class/net/eth0", "run"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self.manager = FakeManager(outcome, self.log, more.get("live", LEASE))
        self.guard = FakeGuard(self)
        self.guard.armed = "found" in more
        self.guard.restoring = more.get("found") == "restoring"
        self.gateways = more.get("gateways", {"192.168.63.1"})
        self.server = more.get("server", "192.168.63.11")
        self.answers = {
            "ip -j -4 address": lambda *_: self._addresses(),
            "ip -j -4 route": lambda *_: self._routes(),
            **dict.fromkeys(["ip address", "ip route", "ip rule", "nmcli general reload conf"], ""),
        }
        if "broken" in more:
            self.answers[more["broken"]] = Outcome(1, "", "broken")
        monkeypatch.setattr(apply, "known_managers", lambda *_: None)
        monkeypatch.setattr(apply, "choose", lambda *_: lambda *_: self.manager)
        monkeypatch.setattr(apply, "Socket", lambda _: "wire")
        monkeypatch.setattr(apply, "announce", lambda *_: self.log.append("announce"))
        self.wire: dict[str, str] = more.get("wire", {})
        for name in ("wait_until_free", "find_router"):
            monkeypatch.setattr(apply, name, self._probe(name))

    def _addresses(self) -> str:
        one = self.manager.live
        info = {"local": one.address, "prefixlen": one.prefix, "dynamic": not one.static}
        return json.dumps([{"ifname": one.interface, "addr_info": [info]}])

    def _routes(self) -> str:
        gateways = {"192.168.63.1"} if "arm" in self.log else self.gateways
        return json.dumps([{"dst": "default", "gateway": gateway, "dev": "eth0"} for gateway in gateways])

    def _probe(self, name: str) -> Any:
        def probe(*_: Any) -> None:
            self.log.append(name)
            if name in self.wire:
                raise UserError(self.wire[name])

        return probe

    def converge(self) -> dict[str, Any]:
        self.diff.clear()
        return StaticAddress(self, SETTINGS, self.guard, self.server).converge(OPTIONS)

    @property
    def done(self) -> list[str]:
        """What was done, without reading the kernel's state."""
        return [entry for entry in self.log if not entry.startswith("ip -j")]

    def converged(self) -> Board:
        self.write(PATH, "new\n", 0o600)
        self.manager.live = OWN
        return self


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda outcome="works", **more: Board(tmp_path, monkeypatch, outcome, **more)


def test_a_lease_becomes_static_under_a_rollback_and_a_second_call_changes_nothing(make: Make) -> None:
    board = make()
    answer = board.converge()
    assert board.changed
    assert board.path(PATH).stat().st_mode & 0o777 == 0o600
    # The node uses address and router already, so the wire is not probed.
    assert board.done == ["arm", "apply", "announce"]
    # It is reached where it was.
    confirm = {"name": "test", "token": "a" * 32, "within": 60}
    assert answer == {"manager": "fake", "address": "192.168.63.11", "moved": False, "confirm": confirm}
    again = make().converged()
    assert again.converge() == {"manager": "fake", "address": "192.168.63.11", "moved": False}
    assert (again.diff, again.done) == ([], [])


def test_a_move_asks_the_wire_first_and_keeps_the_former_address(make: Make) -> None:
    board = make(live=ELSEWHERE, server=ELSEWHERE.address, gateways={"192.168.63.254"})
    answer = board.converge()
    assert board.done[:4] == ["wait_until_free", "find_router", "arm", "move"]
    assert board.done[4] == "ip address replace 192.168.63.150/32 dev eth0"
    assert answer["confirm"]["host"] == "192.168.63.11"
    assert answer["moved"]
    guard = board.guard
    # The makeshift ends when the former profile has brought the address back, or before the new one is permanent.
    assert guard.restore[0] == ["back", "before", "cp1"]
    assert "delete 192.168.63.150/32" in guard.restore[1][2]
    assert "delete 192.168.63.150/24" not in guard.restore[1][2]
    assert "delete 192.168.63.150/24" in guard.at_confirm[1][2]
    assert guard.at_boot == [["generate"]]
    assert guard.files == [PATH]


def test_a_kernel_without_policy_routing_keeps_the_former_address_plainly(make: Make) -> None:
    board = make(live=ELSEWHERE, server=ELSEWHERE.address, broken="ip rule")
    assert board.converge()["moved"]
    assert "ip address replace 192.168.63.150/24 dev eth0" in board.log


@pytest.mark.parametrize("question", ["wait_until_free", "find_router"])
def test_nothing_is_touched_where_the_wire_says_no(make: Make, question: str) -> None:
    board = make(live=ELSEWHERE, gateways=set(), wire={question: "is taken"})
    with pytest.raises(UserError, match="is taken"):
        board.converge()
    assert "arm" not in board.log
    assert not board.path(PATH).exists()


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("hangs", "did not get 192.168.63.11/24 static via 192.168.63.1 within 0 s: it has 192.168.63.11/24 dynamic"),
        ("error", "nmcli failed"),
    ],
)
def test_what_does_not_work_is_undone_at_once(make: Make, outcome: str, words: str) -> None:
    board = make(outcome)
    with pytest.raises(UserError, match="the node has been rolled back") as caught:
        board.converge()
    assert words in str(caught.value)
    assert board.log[-1] == "undo"


@pytest.mark.parametrize("stuck", [False, True])
def test_a_bug_is_undone_at_once_and_stays_a_bug(make: Make, *, stuck: bool) -> None:
    board = make("bug")
    board.guard.stuck = stuck
    with pytest.raises(ValueError, match="not JSON") as caught:
        board.converge()
    assert not isinstance(caught.value, UserError)
    assert board.log[-1] == "undo"


def test_what_netplan_refuses_is_never_written(make: Make) -> None:
    board = make("refused")
    with pytest.raises(UserError, match="does not accept"):
        board.converge()
    assert not board.path(PATH).exists()
    assert board.done == []


def test_check_mode_shows_the_change_and_touches_nothing(make: Make) -> None:
    board = make(check_mode=True, live=ELSEWHERE)
    assert board.converge() == {"manager": "fake", "address": "192.168.63.11", "moved": False}
    assert [entry["after_header"] for entry in board.diff] == ["kernel", PATH]
    assert "192.168.63.150/24 static" in board.diff[0]["before"]
    assert board.done == []
    assert not board.path("/etc").exists()


def test_a_run_that_came_to_the_new_address_goes_on_where_a_killed_one_was(make: Make) -> None:
    board = make(found="unconfirmed").converged()
    assert "confirm" in board.converge()
    assert board.done == ["arm", "apply", "announce"]
    # A checkpoint of now would bring back what nobody has confirmed.
    assert board.guard.restore == [["back", "before", ""]]


@pytest.mark.parametrize(
    ("server", "found"),
    [("192.168.63.150", "unconfirmed"), ("192.168.63.11", "restoring")],
)
def test_a_run_that_came_to_the_former_address_first_lets_the_node_go_back(make: Make, server: str, found: str) -> None:
    board = make(found=found, server=server, live=ELSEWHERE)
    board.converge()
    assert board.done[0] == "undo"
    assert "arm" in board.log


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"confirm_within": 9}, "10 to 3600"),
        ({"confirm_within": 3601}, "10 to 3600"),
        ({"wait_for_address": -1}, "wait_for_address is out of range"),
        ({"gateway": "10.0.0.1"}, "gateway is not usable"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_else(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    node = FakeNode(tmp_path)
    where = {"interface": "eth0", "address": "192.168.63.11", "prefix": 24, "gateway": "192.168.63.1"}
    with pytest.raises(UserError, match=words):
        static_address.converge(node, {**OPTIONS, **where, "dns": [], "search": [], **wrong})
    assert node.commands == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wireless", "words"),
    [(False, "this node has no eth0, it has end0"), (True, "eth0 is wireless; set interface to a wired one")],
)
def test_an_interface_that_cannot_have_the_address_is_refused(make: Make, words: str, *, wireless: bool) -> None:
    board = make()
    eth0 = board.path("/sys/class/net/eth0")
    if wireless:
        (eth0 / "wireless").mkdir()
    else:
        eth0.rename(eth0.with_name("end0"))
    with pytest.raises(UserError, match=words):
        board.converge()
    assert board.done == []


def test_cloud_init_no_longer_configures_the_network(make: Make) -> None:
    board = make()
    board.path("/etc/cloud").mkdir(parents=True)
    board.converge()
    assert board.text(apply.CLOUD_CONF) == apply.CLOUD_NETWORK_OFF
    assert board.guard.files == [PATH, apply.CLOUD_CONF]
    assert make().converged().converge()["moved"] is False
    # Removed by hand: an address that is right already does not hide it.
    board.path(apply.CLOUD_CONF).unlink()
    again = make().converged()
    again.converge()
    assert again.path(apply.CLOUD_CONF).exists()


def nm_board(make: Make, **more: Any) -> Board:
    """A node whose address is its own already, under NetworkManager."""
    board = make(**more).converged()
    board.manager.has_nm = True
    return board


def test_networkmanager_reads_its_new_file_once(make: Make) -> None:
    board = nm_board(make)
    board.converge()
    board.converge()
    assert board.done == ["nmcli general reload conf"]


def test_networkmanager_reads_a_file_that_a_killed_run_left_unread(make: Make) -> None:
    with pytest.raises(UserError, match="failed"):
        nm_board(make, broken="nmcli general reload conf").converge()
    board = nm_board(make)
    board.converge()
    assert board.done == ["nmcli general reload conf"]
    assert not board.path(NM_PENDING).exists()


def test_check_mode_reloads_nothing(make: Make) -> None:
    board = nm_board(make, check_mode=True)
    board.converge()
    assert board.done == []
    assert not board.path(NM_CONF).exists()
