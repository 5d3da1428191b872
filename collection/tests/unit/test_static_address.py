"""Putting an address in force: what happens to the files when it does not work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils._address import Live, make_wanted
from ansible_collections.picluster.cloud.plugins.modules import static_address

if TYPE_CHECKING:
    from pathlib import Path

WANTED = make_wanted("eth0", "192.168.63.11", 24, "192.168.63.1", [])
LEASE = Live("eth0", "192.168.63.11", 24, static=False)
OWN = Live("eth0", "192.168.63.11", 24, static=True)


class FakeManager:
    """A manager whose `apply` makes the address static, or not, or fails."""

    name = "fake"
    has_nm = False
    text = "new\n"

    def __init__(self, path: str, outcome: str) -> None:
        self.path = path
        self.outcome = outcome
        self.calls: list[str] = []
        self.live = LEASE

    def try_out(self) -> None:
        if self.outcome == "refused":
            raise ValueError("netplan does not accept it")

    def active(self) -> str:
        return "before"

    def apply(self) -> None:
        self.calls.append("apply")
        if self.outcome == "error":
            raise ValueError("nmcli failed")
        if self.outcome == "works":
            self.live = OWN

    def back(self, former: str) -> None:
        self.calls.append(f"back to {former}")


def make_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, *, check_mode: bool = False
) -> tuple[static_address.Node, FakeManager]:
    monkeypatch.setattr(static_address, "PENDING", str(tmp_path / "pending"))
    monkeypatch.setattr(static_address, "NM_PENDING", str(tmp_path / "nm-pending"))
    monkeypatch.setattr(static_address, "NM_CONF", str(tmp_path / "nm.conf"))
    monkeypatch.setattr(static_address, "CLOUD_CONF", str(tmp_path / "cloud.cfg"))
    node = static_address.Node(SimpleNamespace(check_mode=check_mode), WANTED)
    manager = FakeManager(str(tmp_path / "60-picluster.yaml"), outcome)
    monkeypatch.setattr(node, "manager", lambda: manager)
    monkeypatch.setattr(node, "live", lambda: ([manager.live], {"192.168.63.1"}))
    return node, manager


def test_a_first_call_changes_and_a_second_one_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, manager = make_node(tmp_path, monkeypatch, "works")
    node.converge(0)
    assert node.files.changed
    assert (tmp_path / "60-picluster.yaml").stat().st_mode & 0o777 == 0o600
    again, second = make_node(tmp_path, monkeypatch, "works")
    second.live = manager.live
    again.converge(0)
    assert not again.files.changed
    assert second.calls == []


@pytest.mark.parametrize(
    ("outcome", "words"), [("hangs", "did not get 192.168.63.11/24 static"), ("error", "nmcli failed")]
)
def test_what_does_not_work_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, words: str
) -> None:
    (tmp_path / "60-picluster.yaml").write_text("old\n", encoding="utf-8")
    node, manager = make_node(tmp_path, monkeypatch, outcome)
    with pytest.raises(ValueError, match="put back as it was") as caught:
        node.converge(0)
    assert words in str(caught.value)
    assert (tmp_path / "60-picluster.yaml").read_text(encoding="utf-8") == "old\n"
    assert manager.calls[-1] == "back to before"
    assert not (tmp_path / "pending").exists()
    assert not (tmp_path / "cloud.cfg").exists()


def test_a_file_that_was_not_there_is_taken_away_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, _manager = make_node(tmp_path, monkeypatch, "hangs")
    with pytest.raises(ValueError, match="put back"):
        node.converge(0)
    assert not (tmp_path / "60-picluster.yaml").exists()


def test_what_netplan_refuses_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, manager = make_node(tmp_path, monkeypatch, "refused")
    with pytest.raises(ValueError, match="does not accept"):
        node.converge(0)
    assert not (tmp_path / "60-picluster.yaml").exists()
    assert manager.calls == []


def test_check_mode_tells_and_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, manager = make_node(tmp_path, monkeypatch, "works", check_mode=True)
    node.converge(0)
    assert [entry["after_header"] for entry in node.files.diff][:2] == [manager.path, "kernel"]
    assert manager.calls == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_killed_before_it_applied_is_mended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "60-picluster.yaml").write_text("new\n", encoding="utf-8")
    (tmp_path / "60-picluster.yaml").chmod(0o600)
    (tmp_path / "pending").touch()
    node, manager = make_node(tmp_path, monkeypatch, "works")
    node.converge(0)
    assert manager.calls == ["apply"]
    assert not (tmp_path / "pending").exists()


def nm_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, check_mode: bool = False, reload_fails: bool = False
) -> tuple[static_address.Node, list[str]]:
    """A node whose address is its own already, and what is asked of its NetworkManager."""
    node, manager = make_node(tmp_path, monkeypatch, "works", check_mode=check_mode)
    (tmp_path / "60-picluster.yaml").write_text("new\n", encoding="utf-8")
    (tmp_path / "60-picluster.yaml").chmod(0o600)
    manager.has_nm, manager.live = True, OWN
    asked: list[str] = []

    def ask(*command: str) -> str:
        asked.append(" ".join(command))
        if reload_fails:
            raise ValueError("killed")
        return ""

    monkeypatch.setattr(node, "run", ask)
    return node, asked


def test_networkmanager_reads_its_new_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, asked = nm_node(tmp_path, monkeypatch)
    node.converge(0)
    node.converge(0)
    assert asked == ["nmcli general reload conf"]


def test_networkmanager_reads_a_file_that_a_killed_run_left_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, _asked = nm_node(tmp_path, monkeypatch, reload_fails=True)
    with pytest.raises(ValueError, match="killed"):
        killed.converge(0)
    node, asked = nm_node(tmp_path, monkeypatch)
    node.converge(0)
    assert asked == ["nmcli general reload conf"]
    assert not (tmp_path / "nm-pending").exists()


def test_check_mode_reloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, asked = nm_node(tmp_path, monkeypatch, check_mode=True)
    node.converge(0)
    assert asked == []
    assert not (tmp_path / "nm.conf").exists()
