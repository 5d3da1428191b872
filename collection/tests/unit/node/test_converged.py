"""The controller records which layers a node has, from what its modules converged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.action import docker_engine, hadoop_node, k3s_node, record_layer
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen, layers_of

if TYPE_CHECKING:
    from pathlib import Path

PRESENT = {"docker": {}, "k3s": {"role": "agent"}, "hadoop": {"daemons": ["datanode"]}}
ABSENT = {"docker": {"state": "absent"}, "k3s": {"role": "none"}, "hadoop": {"daemons": []}}
PLUGINS = {"docker": docker_engine, "k3s": k3s_node, "hadoop": hadoop_node}


class Controller:
    """Runs action plugins whose modules give a set answer."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, monkeypatch

    def run(self, plugin: Any, arguments: dict[str, Any], *, check: bool = False, **answer: Any) -> dict[str, Any]:
        kind = plugin.ActionModule
        self.patch.setattr(kind.__bases__[0], "run", lambda *_: {})
        self.patch.setattr(kind, "_execute_module", lambda *_, **__: {"server_data": False, **answer})
        self.patch.setattr(kind, "_remove_tmp_path", lambda *_: None)
        self.patch.setattr(kind, "validate_argument_spec", lambda *_: (None, arguments))
        action = kind.__new__(kind)
        action._task = SimpleNamespace(args=arguments, check_mode=check)
        action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
        variables = {"inventory_dir": str(self.folder), "inventory_hostname": "red1"}
        result: dict[str, Any] = action.run(task_vars=variables)
        return result

    def layers(self) -> list[str]:
        return layers_of(Seen(self.folder).nodes().get("red1", {}))


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Controller:
    return Controller(tmp_path, monkeypatch)


@pytest.mark.parametrize("layer", PLUGINS)
def test_a_layer_is_recorded_once_it_has_converged_and_no_longer_once_it_was_removed(
    controller: Controller, layer: str
) -> None:
    controller.run(PLUGINS[layer], PRESENT[layer])
    assert controller.layers() == [layer]
    before = Seen(controller.folder).path.stat().st_ino
    controller.run(PLUGINS[layer], PRESENT[layer])
    assert Seen(controller.folder).path.stat().st_ino == before
    controller.run(PLUGINS[layer], ABSENT[layer])
    assert controller.layers() == []


@pytest.mark.parametrize("layer", PLUGINS)
@pytest.mark.parametrize("word", ["failed", "unreachable", "skipped"])
def test_a_node_that_was_not_converged_keeps_its_record(controller: Controller, layer: str, word: str) -> None:
    controller.run(PLUGINS[layer], PRESENT[layer], **{word: True})
    assert controller.layers() == []
    controller.run(PLUGINS[layer], PRESENT[layer])
    controller.run(PLUGINS[layer], ABSENT[layer], **{word: True})
    controller.run(PLUGINS[layer], ABSENT[layer], check=True)
    assert controller.layers() == [layer]


def test_k3s_that_was_skipped_for_want_of_its_binary_is_not_recorded(controller: Controller) -> None:
    controller.patch.setattr(k3s_node, "note_holder", lambda *_, **__: {"restarted": False})
    controller.run(k3s_node, PRESENT["k3s"])
    assert controller.layers() == []


def test_a_layer_without_a_module_of_its_own_is_recorded_by_its_role(controller: Controller) -> None:
    controller.run(docker_engine, PRESENT["docker"])
    assert controller.run(record_layer, {"layer": "hello", "present": True}) == {"changed": False}
    assert controller.layers() == ["docker", "hello"]
    controller.run(record_layer, {"layer": "hello", "present": False})
    assert controller.layers() == ["docker"]


def test_a_record_that_cannot_be_written_is_a_warning(controller: Controller) -> None:
    controller.folder /= "gone"
    (warning,) = controller.run(docker_engine, {})["warnings"]
    assert warning == (
        f"{controller.folder}/seen.json cannot be written: No such file or directory; a slip that removes docker will "
        "not be noticed"
    )
