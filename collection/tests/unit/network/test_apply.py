"""Putting an address in force: what is asked first, what is armed, what happens when it does not work."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.action.static_address import ActionModule
from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import State
from ansible_collections.picluster.cloud.plugins.module_utils.network.plan import Live, make_wanted
from ansible_collections.picluster.cloud.plugins.modules import static_address

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WANTED = make_wanted("eth0", "192.168.63.11", 24, "192.168.63.1", [])
LEASE = Live("eth0", "192.168.63.11", 24, static=False)
OWN = Live("eth0", "192.168.63.11", 24, static=True)
ELSEWHERE = Live("eth0", "192.168.63.150", 24, static=True)


class FakeRollback:
    """Notes what is armed and undone."""

    def __init__(self, log: list[str], found: State | None) -> None:
        self.log = log
        self.found = found
        self.armed: dict[str, Any] = {}
        self.stuck = False

    def state(self) -> State | None:
        return self.found

    def undo(self) -> bool:
        self.log.append("undo")
        if self.stuck:
            raise ValueError("the node could not go back to what it was")
        return True

    def arm(
        self, seconds: int, token: str, files: Sequence[str], restore: list[list[str]], **more: list[list[str]]
    ) -> dict[str, Any]:
        self.log.append("arm")
        self.armed = {"files": list(files), "restore": restore, **more}
        return {"name": "address", "token": token, "within": seconds}


class FakeManager:
    """A manager whose `apply` makes the address static, or not, or fails."""

    name = "fake"
    has_nm = False
    text = "new\n"
    mode = 0o600
    owner: tuple[int, int] | None = None

    def __init__(self, path: str, outcome: str, log: list[str], live: Live) -> None:
        self.path = path
        self.outcome = outcome
        self.log = log
        self.live = live

    def try_out(self) -> None:
        if self.outcome == "refused":
            raise ValueError("netplan does not accept it")

    def active(self) -> str:
        return "before"

    def apply(self, *, moving: bool) -> None:
        self.log.append("move" if moving else "apply")
        if self.outcome == "error":
            raise ValueError("nmcli failed")
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


class Board:
    """A node in a folder, and everything that was done to it in order."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str = "works", **more: Any) -> None:
        self.log: list[str] = []
        self.path = tmp_path / "60-picluster.yaml"
        for name in ("NM_PENDING", "NM_CONF", "CLOUD_CONF"):
            monkeypatch.setattr(static_address, name, str(tmp_path / name))
        params = {"confirm_within": 60, "confirm_token": "a" * 32, "wait_for_address": 15, "timeout": 0}
        module = SimpleNamespace(
            check_mode=more.get("check_mode", False), params=params | more.get("params", {}), run_command=None
        )
        self.node = static_address.Node(module, WANTED, more.get("server", "192.168.63.11"))
        self.manager = FakeManager(str(self.path), outcome, self.log, more.get("live", LEASE))
        self.rollback = FakeRollback(self.log, more.get("found"))
        self.gateways = more.get("gateways", {"192.168.63.1"})
        monkeypatch.setattr(self.node, "_rollback", self.rollback)
        monkeypatch.setattr(self.node, "manager", lambda: self.manager)
        monkeypatch.setattr(self.node, "live", self._live)
        monkeypatch.setattr(self.node, "run", self._run)
        monkeypatch.setattr(static_address, "Socket", lambda _: "wire")
        monkeypatch.setattr(static_address, "announce", lambda *_: self.log.append("announce"))
        self.wire: dict[str, str] = more.get("wire", {})
        for name in ("wait_until_free", "find_router"):
            monkeypatch.setattr(static_address, name, self._asker(name))
        self.broken: str = more.get("broken", "nothing")

    def _live(self) -> tuple[list[Live], set[str]]:
        return [self.manager.live], {"192.168.63.1"} if "arm" in self.log else self.gateways

    def _asker(self, name: str) -> Any:
        def ask(*_: Any) -> None:
            self.log.append(name)
            if name in self.wire:
                raise ValueError(self.wire[name])

        return ask

    def _run(self, *command: str) -> str:
        said = " ".join(command)
        self.log.append(said)
        if self.broken in said:
            raise ValueError(f"{said} failed")
        return ""

    def converged(self) -> Board:
        self.path.write_text("new\n", encoding="utf-8")
        self.path.chmod(0o600)
        self.manager.live = OWN
        return self


def test_a_lease_becomes_static_under_a_rollback_and_a_second_call_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path, monkeypatch)
    board.node.converge()
    assert board.node.files.changed
    assert board.path.stat().st_mode & 0o777 == 0o600
    # The node lives with address and router already, so nobody is asked.
    assert board.log == ["arm", "apply", "announce"]
    # It is to be reached where it was.
    assert board.node.confirm == {"name": "address", "token": "a" * 32, "within": 60}
    assert not board.node.moved
    again = Board(tmp_path, monkeypatch).converged()
    again.node.converge()
    assert not again.node.files.changed
    assert again.log == []
    assert again.node.confirm is None


def test_a_move_asks_the_wire_first_and_keeps_the_former_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path, monkeypatch, live=ELSEWHERE, server=ELSEWHERE.address, gateways={"192.168.63.254"})
    board.node.converge()
    assert board.log[:4] == ["wait_until_free", "find_router", "arm", "move"]
    assert board.log[4] == "ip address replace 192.168.63.150/32 dev eth0"
    assert board.node.confirm is not None
    assert board.node.confirm["host"] == "192.168.63.11"
    assert board.node.moved
    armed = board.rollback.armed
    # The makeshift ends when the former profile has brought the address back, or before the new one is permanent.
    assert armed["restore"][0] == ["back", "before", "cp1"]
    assert "delete 192.168.63.150/32" in armed["restore"][1][2]
    assert "delete 192.168.63.150/24" not in armed["restore"][1][2]
    assert "delete 192.168.63.150/24" in armed["at_confirm"][1][2]
    assert armed["at_boot"] == [["generate"]]
    assert armed["files"][0] == str(board.path)


def test_a_kernel_without_policy_routing_keeps_the_former_address_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path, monkeypatch, live=ELSEWHERE, server=ELSEWHERE.address, broken="ip rule")
    board.node.converge()
    assert "ip address replace 192.168.63.150/24 dev eth0" in board.log
    assert board.node.moved


@pytest.mark.parametrize("question", ["wait_until_free", "find_router"])
def test_nothing_is_touched_where_the_wire_says_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    board = Board(tmp_path, monkeypatch, live=ELSEWHERE, gateways=set(), wire={question: "is taken"})
    with pytest.raises(ValueError, match="is taken"):
        board.node.converge()
    assert "arm" not in board.log
    assert not board.path.exists()
    assert not board.node.moved


@pytest.mark.parametrize(
    ("outcome", "words"), [("hangs", "did not get 192.168.63.11/24 static"), ("error", "nmcli failed")]
)
def test_what_does_not_work_is_undone_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, words: str
) -> None:
    board = Board(tmp_path, monkeypatch, outcome)
    with pytest.raises(ValueError, match="put back as it was") as caught:
        board.node.converge()
    assert words in str(caught.value)
    assert board.log[-1] == "undo"


def test_a_card_that_fills_up_after_it_was_armed_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path, monkeypatch)

    def full(path: str, *_: Any, **__: Any) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr(board.node.files, "put", full)
    with pytest.raises(ValueError, match=r"No space left on device; check the card.*put back as it was"):
        board.node.converge()
    assert board.log == ["arm", "undo"]


def test_a_way_back_that_fails_does_not_hide_why_it_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path, monkeypatch, "error")
    board.rollback.stuck = True
    with pytest.raises(ValueError, match="nmcli failed; the node could not go back"):
        board.node.converge()


def test_what_netplan_refuses_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path, monkeypatch, "refused")
    with pytest.raises(ValueError, match="does not accept"):
        board.node.converge()
    assert not board.path.exists()
    assert board.log == []


def test_check_mode_tells_and_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path, monkeypatch, check_mode=True, live=ELSEWHERE)
    board.node.converge()
    assert [entry["after_header"] for entry in board.node.files.diff][:2] == ["kernel", f"{board.path}"]
    assert "192.168.63.150/24 static" in board.node.files.diff[0]["before"]
    assert board.log == []
    assert list(tmp_path.iterdir()) == []
    assert not board.node.moved


def test_a_run_that_came_to_the_new_address_goes_on_where_a_killed_one_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path, monkeypatch, found=State("b" * 32, ())).converged()
    board.node.converge()
    assert board.log == ["arm", "apply", "announce"]
    assert board.node.confirm is not None
    # A checkpoint of now would bring back what nobody has confirmed.
    assert board.rollback.armed["restore"] == [["back", "before", ""]]


@pytest.mark.parametrize(
    ("server", "found"),
    [("192.168.63.150", State("b" * 32, ())), ("192.168.63.11", State("b" * 32, (), restoring=True))],
)
def test_a_run_that_came_to_the_former_address_first_lets_the_node_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, found: State
) -> None:
    board = Board(tmp_path, monkeypatch, found=found, server=server, live=ELSEWHERE)
    board.node.converge()
    assert board.log[0] == "undo"
    assert "arm" in board.log


@pytest.mark.parametrize("seconds", [9, 3601])
def test_a_window_without_sense_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    board = Board(tmp_path, monkeypatch, params={"confirm_within": seconds})
    with pytest.raises(ValueError, match="10 to 3600"):
        board.node.converge()
    assert board.log == []


def nm_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Board:
    """A node whose address is its own already, under NetworkManager."""
    board = Board(tmp_path, monkeypatch, **more).converged()
    board.manager.has_nm = True
    return board


def test_networkmanager_reads_its_new_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = nm_board(tmp_path, monkeypatch)
    board.node.converge()
    board.node.converge()
    assert board.log == ["nmcli general reload conf"]


def test_networkmanager_reads_a_file_that_a_killed_run_left_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="failed"):
        nm_board(tmp_path, monkeypatch, broken="nmcli general").node.converge()
    board = nm_board(tmp_path, monkeypatch)
    board.node.converge()
    assert board.log == ["nmcli general reload conf"]
    assert not (tmp_path / "NM_PENDING").exists()


def test_check_mode_reloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = nm_board(tmp_path, monkeypatch, check_mode=True)
    board.node.converge()
    assert board.log == []
    assert not (tmp_path / "NM_CONF").exists()


def action(host: str) -> ActionModule:
    made = ActionModule.__new__(ActionModule)
    made._play_context = SimpleNamespace(remote_addr=host)
    made._connection = SimpleNamespace(get_option=lambda _: host)
    return made


def test_an_answer_that_the_move_has_cut_off_is_asked_for_at_the_new_address() -> None:
    arguments = {"address": "192.168.63.11", "confirm_token": "a" * 32, "confirm_within": "90"}
    assert action("192.168.63.150").lost_answer(arguments) == {
        "name": "address",
        "token": "a" * 32,
        "within": 90,
        "host": "192.168.63.11",
    }


def test_a_node_that_was_to_stay_and_does_not_answer_is_unreachable() -> None:
    assert action("192.168.63.11").lost_answer({"address": "192.168.63.11", "confirm_token": "a" * 32}) is None
