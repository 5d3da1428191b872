"""The controller's half of identity: its own time, and copied nodes; nodes that are only noted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.picluster.cloud.plugins.action import identity
from ansible_collections.picluster.cloud.plugins.action.identity import ActionModule
from ansible_collections.picluster.cloud.plugins.module_utils.identity.clock import TOLERANCE
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from pathlib import Path

NOW = identity.NOT_BEFORE + 86400
COPIED, NEW = "ssh-ed25519 AAAAcopied", "ssh-ed25519 AAAAnew"
ID = "a" * 32


class KilledError(BaseException):
    """The controller is gone."""


class Node:
    """One node: its machine-id, the host key that its sshd offers, the one made aside; and the controller."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, name: str = "red2") -> None:
        self.folder, self.name = folder, name
        self.machine_id, self.shown, self.aside = ID, COPIED, ""
        self.mac = f"02::{name[-1]}"
        self.check_mode = False
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.kill_at = ""
        self.now, self.off, self.way = NOW, 0.0, 0.0
        self.answer: dict[str, Any] = {}
        monkeypatch.setattr(identity.time, "time", lambda: self.now)
        monkeypatch.setattr(ActionModule.__bases__[0], "run", lambda *_: {})
        monkeypatch.setattr(ActionModule, "_remove_tmp_path", lambda *_: None)
        monkeypatch.setattr(ActionModule, "_execute_module", lambda _self, **said: self.execute(**said))

    def execute(self, *, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        assert task_vars["inventory_hostname"] == self.name
        what = module_args.get("state", "identity")
        self.calls.append((what, module_args))
        if self.kill_at == f"before {what}":
            raise KilledError
        result = getattr(self, f"_{what}")(module_args)
        if self.kill_at == f"after {what}":
            raise KilledError
        return {**result, **self.answer}

    def _identity(self, args: dict[str, Any]) -> dict[str, Any]:
        self.now += self.way
        if "controller_uptime" in args:
            self.off = args["controller_time"] - args["controller_uptime"]
        elif abs(self.now + self.off - args.get("controller_time", self.now)) > TOLERANCE:
            # The node has been up since the beginning of all time.
            return {"changed": False, "clock_reading": {"clock": self.now + self.off, "uptime": self.now}}
        changed = args.get("taken_machine_id") == self.machine_id
        if changed and not self.check_mode:
            self.machine_id = self.name * 8
        off = {"clock_off": -90 if "controller_uptime" in args else 0, "clock_set": "controller_uptime" in args}
        return {"changed": changed, "diff": [{}] * changed, "machine_id": self.machine_id, "mac": self.mac, **off}

    def _prepared(self, args: dict[str, Any]) -> dict[str, Any]:
        changed = self.shown in args["foreign"] and not self.aside
        if changed and not self.check_mode:
            self.aside = NEW
        return {"changed": changed, "diff": [{}] * changed, "keys": [self.aside or self.shown]}

    def _active(self, _args: dict[str, Any]) -> dict[str, Any]:
        self.shown, self.aside = self.aside or self.shown, ""
        return {"changed": False, "diff": []}

    def run(self) -> dict[str, Any]:
        action = ActionModule.__new__(ActionModule)
        action._task = SimpleNamespace(args={"hostname": self.name}, check_mode=self.check_mode)
        action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
        groups = {"all": ["red1", "red2"]}
        return action.run(
            task_vars={"inventory_dir": str(self.folder), "inventory_hostname": self.name, "groups": groups}
        )

    @property
    def known(self) -> str:
        return (self.folder / "known_hosts").read_text()

    @property
    def lets_in(self) -> bool:
        """Whether ssh on the controller would take the key that the node shows."""
        return f"{self.name} {self.shown}\n" in self.known


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Node:
    """A node whose card was copied from red1's."""
    (tmp_path / "known_hosts").write_text(f"red1 {COPIED}\nred2 {COPIED}\n")
    with Seen(tmp_path).edit() as seen:
        seen["red1"] = {"machine_id": ID, "mac": "02::1"}
    return Node(monkeypatch, tmp_path)


def alone(node: Node) -> Node:
    """Make it a node of its own."""
    node.machine_id = "b" * 32
    (node.folder / "known_hosts").write_text(f"red1 {COPIED}\nred2 {NEW}\n")
    node.shown = NEW
    return node


def test_a_node_of_its_own_is_asked_once_with_the_controller_s_time(node: Node) -> None:
    result = alone(node).run()
    assert node.calls == [("identity", {"hostname": "red2", "controller_time": NOW})]
    assert result["changed"] is False
    assert Seen(node.folder).nodes()["red2"] == {"machine_id": "b" * 32, "mac": "02::2"}


@pytest.mark.parametrize("way", [61.0, 600.0])
def test_a_right_clock_is_not_set_back_by_the_time_that_the_question_took(node: Node, way: float) -> None:
    alone(node).way = way
    result = node.run()
    assert [sorted(args) for _what, args in node.calls] == [["controller_time", "hostname"], ["hostname"]]
    assert (node.off, result["clock_set"], "clock_reading" in result) == (0.0, False, False)


@pytest.mark.parametrize("off", [-1e8, -90.0, 90.0, 1e8])
def test_a_wrong_clock_is_set_to_half_the_way_at_most(node: Node, off: float) -> None:
    alone(node).way, node.off = 20.0, off
    result = node.run()
    assert abs(node.off) <= 20.0
    assert result["clock_set"]
    node.calls.clear()
    node.run()
    assert len(node.calls) == 1


def test_a_copied_node_gets_all_of_its_own_and_a_second_run_changes_nothing(node: Node) -> None:
    node.off = -90.0
    result = node.run()
    assert result["changed"] is True
    assert len(result["diff"]) == 2
    assert result["new_host_keys"] == [NEW]
    assert Seen(node.folder).nodes()["red2"]["machine_id"] == node.machine_id != ID
    assert node.known == f"red1 {COPIED}\nred2 {NEW}\n"
    assert node.shown == NEW
    # What was done to the clock is told, too.
    assert (result["clock_off"], result["clock_set"]) == (-90, True)
    node.calls.clear()
    assert node.run()["changed"] is False
    assert len(node.calls) == 1


def test_the_node_that_was_first_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch, node: Node) -> None:
    first = Node(monkeypatch, node.folder, "red1")
    assert first.run()["changed"] is False
    assert (first.machine_id, first.shown) == (ID, COPIED)


@pytest.mark.parametrize("point", ["before prepared", "after prepared", "before active", "after active"])
def test_a_controller_killed_at_any_point_can_log_in_and_the_same_command_mends_it(node: Node, point: str) -> None:
    node.kill_at = point
    with pytest.raises(KilledError):
        node.run()
    assert node.lets_in
    node.kill_at = ""
    assert node.run()["changed"] is True
    assert node.lets_in
    assert node.known == f"red1 {COPIED}\nred2 {NEW}\n"
    assert node.run()["changed"] is False


@pytest.mark.parametrize("point", ["before identity", "after identity"])
def test_a_controller_killed_before_it_knew_mends_it_next_time(node: Node, point: str) -> None:
    node.kill_at = point
    with pytest.raises(KilledError):
        node.run()
    node.kill_at = ""
    assert node.run()["changed"] is True
    assert node.run()["changed"] is False


def test_a_node_that_does_not_take_its_keys_is_still_let_in_by_the_old_one(node: Node) -> None:
    node.machine_id = "b" * 32
    failing = {"failed": True, "msg": "sshd still offers the former host keys"}
    node._active = lambda _args: failing  # type: ignore[method-assign]  # a stand-in
    result = node.run()
    assert result["failed"]
    assert result["msg"] == failing["msg"]
    assert node.lets_in
    assert f"red2 {NEW}\n" in node.known


def test_check_mode_says_so_and_changes_nothing(node: Node) -> None:
    node.check_mode = True
    before = (node.known, Seen(node.folder).path.read_text())
    result = node.run()
    assert result["changed"] is True
    assert len(result["diff"]) == 2
    assert (node.known, Seen(node.folder).path.read_text()) == before
    assert (node.machine_id, node.shown, node.aside) == (ID, COPIED, "")


def test_one_board_under_two_names_is_refused_before_its_keys_are_touched(node: Node) -> None:
    node.mac = "02::1"
    with pytest.raises(AnsibleActionFail, match="red2 and red1 are the same board"):
        node.run()
    assert [what for what, _args in node.calls] == ["identity"]


def test_a_module_that_fails_is_the_end(node: Node) -> None:
    node.answer = {"failed": True, "msg": "no"}
    assert node.run()["msg"] == "no"
    assert len(node.calls) == 1
    assert "red2" not in Seen(node.folder).nodes()


def test_a_controller_with_an_impossible_clock_does_not_spread_it(monkeypatch: pytest.MonkeyPatch, node: Node) -> None:
    monkeypatch.setattr(identity.time, "time", lambda: identity.NOT_BEFORE - 2 * 365 * 86400)
    with pytest.raises(AnsibleActionFail, match="controller's clock is wrong: it shows 2024-11-01"):
        node.run()
    assert node.calls == []


def test_a_record_that_cannot_be_kept_is_a_warning(monkeypatch: pytest.MonkeyPatch, node: Node) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen.write_atomically", full)
    result = alone(node).run()
    assert "the record of red2 cannot be written" in result["warnings"][0]
    assert "failed" not in result


def test_what_is_recorded_already_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, node: Node) -> None:
    alone(node).run()

    def forbidden(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(Seen, "edit", forbidden)
    assert node.run()["changed"] is False


def test_without_an_inventory_s_folder_nothing_is_compared(node: Node) -> None:
    node.folder = ""  # type: ignore[assignment]  # a stand-in
    assert node.run()["changed"] is False
    assert len(node.calls) == 1
