"""The firewall on a node: loaded, kept in force over drift, rolled back when the node refuses it, removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakeguard import FakeGuard
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.firewall.apply import Firewall
from ansible_collections.picluster.cloud.plugins.module_utils.firewall.plan import (
    DROPIN,
    NFT,
    RULES,
    TABLE,
    UNIT,
    UNIT_FILE,
    rules_text,
)
from ansible_collections.picluster.cloud.plugins.module_utils.firewall.rules import FirewallPolicy
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome
from ansible_collections.picluster.cloud.plugins.modules import firewall as module

TEXT = rules_text(FirewallPolicy())
TOKEN = "0" * 16


class NftNode(FakeNode):
    """A node whose kernel has a table, and an nft that works on it.

    Attributes:
        live: The loaded table, as nft lists it.
        refuses: What nft or the kernel says against every table.
        namespaces: Whether rules can be loaded on trial.
    """

    def __init__(self, root: Path, *, check_mode: bool = False, refuses: str = "", namespaces: bool = True) -> None:
        super().__init__(
            root,
            {
                "unshare --net": self._try,
                f"{NFT} --check": lambda *words: Outcome(1, "", f"{words[-1]}:3: {refuses}") if refuses else "",
                f"{NFT} --stateless list table": lambda *_: Outcome(1) if self.live is None else self.live,
                f"{NFT} --file": self._load,
                f"{NFT} delete table": self._delete,
                f"systemctl disable --now {UNIT}": self._delete,
            },
            check_mode=check_mode,
        )
        self.live: str | None = None
        self.refuses, self.namespaces = refuses, namespaces
        self.guard = FakeGuard(self)
        self.write(NFT, "")

    def _try(self, *words: str) -> str | Outcome:
        return Path(words[-1]).read_text("utf-8") if self.namespaces and not self.refuses else Outcome(1)

    def _load(self, *words: str) -> str | Outcome:
        if self.refuses:
            return Outcome(1, "", self.refuses)
        self.live = self.text(words[-1])
        return ""

    def _delete(self, *words: str) -> str | None:
        # The unit's ExecStop deletes the table, too.
        self.live = None
        return None if words[0] == "systemctl" else ""

    @property
    def firewall(self) -> Firewall:
        """A module call's view of the node: its diff begins empty."""
        self.diff.clear()
        self.commands.clear()
        return Firewall(self, self.guard, 600)

    def converge(self, text: str = TEXT) -> dict[str, Any]:
        return self.firewall.present(text, 60, TOKEN)

    def content(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())


@pytest.fixture
def node(tmp_path: Path) -> NftNode:
    return NftNode(tmp_path)


def test_rules_are_armed_before_they_are_loaded_and_load_at_every_boot(node: NftNode) -> None:
    assert node.converge() == {"loaded": True, "confirm": {"name": "test", "token": TOKEN, "within": 60}}
    assert node.live == TEXT
    assert node.unit_states[UNIT] == {**node.unit_states[UNIT], "UnitFileState": "enabled", "ActiveState": "active"}
    # The rollback of rules that replace none ends in none, even if a file was there.
    assert (node.guard.files, node.guard.restore[0][-1].partition(" 2>")[0]) == ([RULES], f"{NFT} delete table {TABLE}")
    acts = [command for command in node.actions if not command.startswith(("unshare", f"{NFT} --stateless"))]
    assert acts == ["arm", f"{NFT} --file {RULES}", f"systemctl enable {UNIT}", f"systemctl start {UNIT}"]


def test_a_second_run_changes_nothing(node: NftNode) -> None:
    node.converge()
    node.guard.confirm()
    assert node.converge() == {"loaded": False}
    assert not node.changed
    assert not [command for command in node.actions if command.startswith(("arm", f"{NFT} --file", "systemctl"))]


def test_other_rules_replace_the_loaded_ones_and_their_rollback_loads_those_again(node: NftNode) -> None:
    node.converge()
    node.guard.confirm()
    node.converge(TEXT.replace("dport 22", "dport 2222"))
    assert "dport 2222" in str(node.live)
    assert "test -e" in node.guard.restore[0][-1]
    assert [entry["after_header"] for entry in node.diff] == [RULES]


@pytest.mark.parametrize("restoring", [False, True])
def test_rules_that_a_killed_run_left_unconfirmed_are_proven_again(node: NftNode, *, restoring: bool) -> None:
    node.converge()
    node.guard.restoring = restoring
    again = node.converge()
    assert again["confirm"]
    assert node.changed
    assert node.text(RULES) == TEXT


def test_check_mode_reports_everything_and_does_nothing(tmp_path: Path) -> None:
    node = NftNode(tmp_path, check_mode=True)
    assert node.converge() == {"loaded": True}
    assert [entry["after_header"] for entry in node.diff] == [UNIT_FILE, DROPIN, RULES, UNIT, UNIT]
    assert node.content() == [NFT.lstrip("/")]
    assert all(command.startswith(("unshare", f"{NFT} --stateless", "systemctl show")) for command in node.commands)


def test_check_mode_reports_a_node_without_nft(tmp_path: Path) -> None:
    node = NftNode(tmp_path, check_mode=True)
    node.path(NFT).unlink()
    assert node.converge() == {"loaded": True}
    assert node.diff[0]["after"] == "nftables\n"
    assert [command for command in node.commands if "nft" in command.split()[0]] == []


@pytest.mark.parametrize("live", [None, "table inet picluster {\n}\n"])
def test_rules_that_were_removed_or_changed_are_restored(node: NftNode, live: str | None) -> None:
    node.converge()
    node.guard.confirm()
    node.live = live
    assert node.converge()["loaded"]
    assert node.live == TEXT
    assert node.diff[0]["before"] == (live or "")


def test_without_namespaces_a_table_that_is_there_is_left_alone(tmp_path: Path) -> None:
    node = NftNode(tmp_path, namespaces=False)
    node.converge()
    node.guard.confirm()
    assert node.converge() == {"loaded": False}


def test_rules_that_nft_rejects_are_never_written(tmp_path: Path) -> None:
    node = NftNode(tmp_path, refuses="syntax error")
    with pytest.raises(UserError, match=r"^nft rejects the rules: firewall.nft:3: syntax error; nothing was changed$"):
        node.converge()
    assert node.content() == [NFT.lstrip("/")]


@pytest.mark.parametrize("before", [None, "old\n"])
def test_rules_that_the_kernel_refuses_are_rolled_back_at_once(node: NftNode, before: str | None) -> None:
    if before is not None:
        node.write(RULES, before)
    node.answers[f"{NFT} --file"] = Outcome(1, "", "Operation not supported")
    with pytest.raises(UserError, match="Operation not supported"):
        node.converge()
    assert node.files.read(RULES) == before
    assert node.commands[-1] == "undo"


def test_absent_removes_everything_and_a_second_time_changes_nothing(node: NftNode) -> None:
    node.converge()
    node.firewall.absent()
    assert node.changed
    assert not node.guard.armed
    assert (node.live, node.content()) == (None, [NFT.lstrip("/")])
    node.firewall.absent()
    assert not node.changed


def test_a_window_in_which_nobody_could_log_in_is_refused_before_anything(node: NftNode) -> None:
    options = {name: option.get("default") for name, option in module.OPTIONS.items()}
    with pytest.raises(UserError, match="confirm_within is out of range: 1; expected 10 to 3600 seconds"):
        module.converge(node, {**options, "confirm_within": 1})
    assert (node.commands, node.content()) == ([], [NFT.lstrip("/")])
