# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The action artifact: one query, one transfer where it is needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.picluster.cloud.plugins.action.artifact import ActionModule

if TYPE_CHECKING:
    from pathlib import Path


class Remote:
    """Answers as the module on a node would, and records what the action does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, lacks: bool) -> None:
        self.calls: list[dict[str, Any]] = []
        self.sent: list[tuple[str, str]] = []
        self.cleaned: list[str | None] = []
        self.lacks = lacks
        self.shell = SimpleNamespace(tmpdir=None, join_path=lambda *parts: "/".join(parts))
        monkeypatch.setattr(ActionModule, "_execute_module", self._execute, raising=False)
        monkeypatch.setattr(ActionModule, "_make_tmp_path", self._make, raising=False)
        monkeypatch.setattr(ActionModule, "_transfer_file", lambda _self, here, there: self.sent.append((here, there)))
        monkeypatch.setattr(ActionModule, "_fixup_perms2", lambda *_: None)
        monkeypatch.setattr(ActionModule, "_remove_tmp_path", lambda _self, path: self.cleaned.append(path))
        monkeypatch.setattr(ActionModule.__bases__[0], "run", lambda *_: {})

    def _make(self, *_: Any) -> None:
        self.shell.tmpdir = "/remote/ansible-tmp-1"

    def _execute(self, *, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        assert module_name == "picluster.cloud.artifact"
        self.calls.append(module_args)
        return {"changed": True} | ({"transfer": True} if self.lacks and "incoming" not in module_args else {})

    def run(self, artifact: Any) -> dict[str, Any]:
        action = ActionModule.__new__(ActionModule)
        action._task = SimpleNamespace(args={"artifact": artifact, "dest": "/opt/x"})
        action._connection = SimpleNamespace(_shell=self.shell)
        return action.run(task_vars={})


def test_node_that_has_it_is_queried_once_and_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Remote(monkeypatch, lacks=False)
    assert node.run({"path": "/gone", "sha256": "a" * 64, "version": "v1"}) == {"changed": True}
    assert len(node.calls) == 1
    assert node.sent == []


def test_node_that_lacks_it_gets_it_and_keeps_no_temporary_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "k3s"
    file.write_text("binary")
    node = Remote(monkeypatch, lacks=True)
    assert node.run({"path": str(file), "sha256": "a" * 64, "version": "v1"}) == {"changed": True}
    assert node.sent == [(str(file), "/remote/ansible-tmp-1/picluster-artifact")]
    assert node.calls[1]["incoming"] == "/remote/ansible-tmp-1/picluster-artifact"
    assert node.cleaned == ["/remote/ansible-tmp-1"]


def test_artifact_that_left_the_controller_fails_only_if_a_node_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Remote(monkeypatch, lacks=True)
    with pytest.raises(AnsibleActionFail, match="no longer on the controller"):
        node.run({"path": "/gone", "sha256": "a" * 64})


@pytest.mark.parametrize("artifact", [None, "k3s", {}, {"path": "/x"}, {"sha256": 1}])
def test_an_invalid_artifact_is_named(monkeypatch: pytest.MonkeyPatch, artifact: Any) -> None:
    with pytest.raises(AnsibleActionFail, match="pass on what"):
        Remote(monkeypatch, lacks=False).run(artifact)
