"""What the controller keeps beside the inventory after a node got its address."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.action import static_address
from ansible_collections.picluster.cloud.plugins.action.static_address import ActionModule
from ansible_collections.picluster.cloud.plugins.plugin_utils.confirm.confirmed import ConfirmedAction
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ANSWER = {"changed": False, "address": "10.0.0.11", "moved": False}


def run(
    monkeypatch: pytest.MonkeyPatch, folder: Path | None, answer: dict[str, Any], *, check: bool = False
) -> dict[str, Any]:
    """Run the action where commit-confirm ended with `answer`."""
    monkeypatch.setattr(ConfirmedAction, "run", lambda *_: answer)
    action = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(args={"address": "10.0.0.11"}, check_mode=check)
    variables: dict[str, Any] = {"inventory_hostname": "red1"}
    return action.run(task_vars=variables | ({"inventory_dir": str(folder)} if folder else {}))


def leave(folder: Path) -> Seen:
    """Have a record as before a move."""
    seen = Seen(folder)
    with seen.edit() as nodes:
        nodes["red1"] = {"addresses": ["10.0.0.19", "10.0.0.11"]}
    return seen


def test_a_node_that_has_arrived_is_sought_only_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = leave(tmp_path)
    assert run(monkeypatch, tmp_path, {**ANSWER, "changed": True, "moved": True})["moved"] is True
    assert seen.nodes() == {"red1": {"addresses": ["10.0.0.11"]}}


def test_a_node_that_has_gone_back_is_still_sought_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = leave(tmp_path)
    failure = {"failed": True, "msg": "no new login was possible"}
    assert run(monkeypatch, tmp_path, failure) == failure
    assert seen.nodes()["red1"]["addresses"] == ["10.0.0.19", "10.0.0.11"]


def test_check_mode_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = leave(tmp_path)
    assert run(monkeypatch, tmp_path, ANSWER, check=True) == ANSWER
    assert seen.nodes()["red1"]["addresses"] == ["10.0.0.19", "10.0.0.11"]


def test_an_answer_that_was_lost_on_the_way_means_that_the_node_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, tmp_path, {"changed": True}) == {"changed": True, "moved": True, "address": "10.0.0.11"}


def test_without_an_inventory_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, None, ANSWER) == ANSWER


def test_a_record_that_cannot_be_written_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(static_address.Display, "warning", lambda _self, text: told.append(text))
    assert run(monkeypatch, tmp_path / "gone", ANSWER) == ANSWER
    assert told == [f"the node's address cannot be recorded: {tmp_path}/gone/seen.json: No such file or directory"]


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
