from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab.addresses import LabNet
from lab.cards import make_key
from lab.cli import main
from lab.cluster import Lab, Wish
from lab.engine import LABEL, Container
from lab.errors import LabError
from lab.extras import take_over
from lab.state import Folder, State, private_folder

if TYPE_CHECKING:
    from pathlib import Path

    from lab.tests.fakes import FakeEngine, Silent

NET = LabNet.parse("192.168.63.0/24")


@pytest.fixture
def wish(tmp_path: Path) -> Wish:
    return Wish("red", 3, NET, ("trixie", "bookworm"), tmp_path / "inventories")


@pytest.fixture
def lab(engine: FakeEngine, report: Silent, lab_root: Path) -> Lab:
    return Lab("red", report, engine)


def saved(lab: Lab, wish: Wish) -> State:
    state = State("red", str(NET), str(wish.inventories.resolve()), wish.nodes(), {"trixie": "t", "bookworm": "b"}, "g")
    private_folder(lab.folder.path)
    lab.folder.save(state)
    return state


def test_suites_take_turns_and_addresses_are_in_a_row(wish: Wish) -> None:
    assert [(node.name, node.address, node.suite) for node in wish.nodes()] == [
        ("red1", "192.168.63.11", "trixie"),
        ("red2", "192.168.63.12", "bookworm"),
        ("red3", "192.168.63.13", "trixie"),
    ]


@pytest.mark.parametrize("count", [0, -1, 190, 1000])
def test_a_number_of_nodes_that_cannot_be_is_refused(wish: Wish, count: int) -> None:
    with pytest.raises(LabError, match=f"1 to 189 nodes, not {count}"):
        replace(wish, count=count).nodes()


def test_what_is_kept_is_read_back(lab: Lab, wish: Wish) -> None:
    state = saved(lab, wish)
    assert lab.folder.load() == state
    assert stat.S_IMODE(lab.folder.path.stat().st_mode) == 0o700


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cluster": "red"}', '{"nodes": [{"name": 1, "colour": 2}]}'])
def test_a_broken_state_is_one_sentence_and_down_clears_it_away(lab: Lab, text: str) -> None:
    private_folder(lab.folder.path)
    (lab.folder.path / "state.json").write_text(text, "utf-8")
    with pytest.raises(LabError, match="make demo-down CLUSTER=red"):
        lab.folder.load()
    lab.down()
    assert not lab.folder.path.exists()


@pytest.mark.parametrize("name", ["", "Red", "../red", "red_1", "1red", "r" * 32])
def test_a_name_that_is_no_folder_of_the_lab_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="lower-case"):
        Folder.of(name)


@pytest.mark.parametrize("other", [{"count": 5}, {"suites": ("trixie",)}, {"net": LabNet.parse("10.9.8.0/24")}])
def test_another_lab_of_the_same_name_is_refused_and_nothing_started(
    lab: Lab, wish: Wish, engine: FakeEngine, other: dict[str, Any]
) -> None:
    saved(lab, wish)
    with pytest.raises(LabError, match="is there with 3 nodes"):
        lab.up(replace(wish, **other))
    assert not engine.containers


def test_containers_without_their_state_are_not_taken_over(lab: Lab, wish: Wish, engine: FakeEngine) -> None:
    engine.start(Container("t", name="red-red1", labels={LABEL: "red"}))
    with pytest.raises(LabError, match="`make demo-down CLUSTER=red` removes them"):
        lab.up(wish)


def test_down_takes_its_own_cluster_away_and_no_other(lab: Lab, wish: Wish, engine: FakeEngine) -> None:
    saved(lab, wish)
    engine.images.add("g")
    for cluster in ("red", "blue"):
        engine.start(Container("g", name=f"{cluster}-gateway", labels={LABEL: cluster}))
    lab.down()
    assert list(engine.containers) == ["blue-gateway"]
    assert any("ip route delete 192.168.63.0/24" in helper for helper in engine.helpers)
    assert not lab.folder.path.exists()
    lab.down()


def test_down_hangs_up_ssh_before_a_node_goes(lab: Lab, wish: Wish, engine: FakeEngine) -> None:
    saved(lab, wish)
    engine.start(Container("t", name="red-red1", labels={LABEL: "red"}))
    lab.down()
    assert ("red-red1", ("pkill", "-KILL", "^sshd")) in engine.executed


def test_a_node_that_is_not_there_is_told_with_those_that_are(lab: Lab, wish: Wish) -> None:
    with pytest.raises(LabError, match="no lab red"):
        lab.switch("red1", on=False)
    saved(lab, wish)
    with pytest.raises(LabError, match="no node 'red9'; it has red1, red2, red3"):
        lab.switch("red9", on=False)


def test_a_node_that_restarts_itself_is_switched_on_again_and_gets_its_cable(
    lab: Lab, engine: FakeEngine, wish: Wish, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(lab, wish)
    # red3 is not there: nobody can switch it on.
    for name in ("red-gateway", "red-red1", "red-red2"):
        engine.start(Container(image="i", name=name, labels={LABEL: "red"}))
    engine.off.add("red-red2")
    looks: list[float] = []
    plugged: list[str] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("lab.cluster.time.sleep", sleep)
    monkeypatch.setattr("lab.cluster.Network.plug", lambda _network, nodes: plugged.extend(nodes))
    with pytest.raises(KeyboardInterrupt):
        lab.attend()
    assert engine.off == set()
    assert plugged == ["red2"]


def test_a_command_runs_on_a_node_or_on_the_gateway_and_nowhere_else(lab: Lab, wish: Wish, engine: FakeEngine) -> None:
    saved(lab, wish)
    engine.answer = lambda name, _words: (3, name)
    assert lab.execute("red2", ["true"]) == (3, "red-red2")
    assert lab.execute("gateway", ["true"]) == (3, "red-gateway")
    with pytest.raises(LabError, match="no node 'red9'"):
        lab.execute("red9", ["true"])


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    public = make_key(tmp_path / "id_ed25519")
    first = public.read_text("ascii")
    assert first.startswith("ssh-ed25519 ")
    assert stat.S_IMODE((tmp_path / "id_ed25519").stat().st_mode) == 0o600
    assert make_key(tmp_path / "id_ed25519").read_text("ascii") == first


def test_half_a_key_pair_is_made_anew(tmp_path: Path) -> None:
    public = make_key(tmp_path / "id_ed25519")
    public.unlink()
    assert make_key(tmp_path / "id_ed25519").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["up", "--net", "8.8.8.0/24"], "--net wants a private net"),
        (["up", "--suite", "trixie,stretch"], "not 'stretch'"),
        (["up", "--name", "../x"], "lower-case"),
        (["unplug", "green1"], "There is no lab 'green'"),
        (["exec", "green1", "true"], "There is no lab 'green'"),
        (["exec", "--name", "red", "red1"], "which command"),
        (["interrupt", "--name", "red", "--armed", "sshd", "red1", "--"], "which command"),
        (["knock", "--times", "0"], "not 0"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    engine: FakeEngine,
) -> None:
    monkeypatch.setattr("lab.cluster.Docker.find", lambda: engine)
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("lab: ")
    assert sentence in said
    assert "\n" not in said


def _inventory(folder: Path, nodes: str) -> Path:
    listed = folder / "10-nodes.yml"
    listed.write_text(f"all: {{children: {{nodes: {{hosts: {{{nodes}}}}}}}}}\n", "utf-8")
    (folder / "20-roles.yml").write_text("mine", "utf-8")
    return listed


def test_a_new_inventory_gets_the_labs_settings(tmp_path: Path) -> None:
    assert not take_over(tmp_path, {"red1": "10.0.0.11"})
    said = yaml.safe_load((tmp_path / "group_vars/all/lab.yml").read_text("utf-8"))
    assert (said["hadoop_source"], said["k3s_optional"]) == ("maven", True)


def test_a_lab_of_other_nodes_begins_its_groups_anew(tmp_path: Path) -> None:
    take_over(tmp_path, {})
    listed = _inventory(tmp_path, "red1: {node_address: 10.0.0.11}")
    assert not take_over(tmp_path, {"red1": "10.0.0.11"})
    assert listed.exists()
    assert take_over(tmp_path, {"red1": "10.0.0.11", "red2": "10.0.0.12"})
    assert not listed.exists()
    assert not (tmp_path / "20-roles.yml").exists()


def test_what_was_seen_of_an_earlier_labs_nodes_is_forgotten(tmp_path: Path) -> None:
    take_over(tmp_path, {})
    _inventory(tmp_path, "red1: {node_address: 10.0.0.11}")
    (tmp_path / "seen.json").write_text('{"red1": {"hdfs": "CID-1"}}', "utf-8")
    assert not take_over(tmp_path, {"red1": "10.0.0.11"})
    assert not (tmp_path / "seen.json").exists()


def test_the_inventory_of_a_real_cluster_is_refused(tmp_path: Path) -> None:
    listed = _inventory(tmp_path, "red1: {node_address: 192.168.1.5}")
    before = listed.read_text("utf-8")
    (tmp_path / "seen.json").touch()
    with pytest.raises(LabError, match="no lab's inventory"):
        take_over(tmp_path, {"red1": "10.0.0.11"})
    assert (tmp_path / "seen.json").exists()
    assert listed.read_text("utf-8") == before
    assert not (tmp_path / "group_vars").exists()


@pytest.mark.parametrize("nodes", ["red1: ", "red1: {}", "red1: [1"])
def test_an_inventory_that_cannot_be_understood_is_one_sentence(tmp_path: Path, nodes: str) -> None:
    take_over(tmp_path, {})
    _inventory(tmp_path, nodes)
    with pytest.raises(LabError, match="mend it or remove it"):
        take_over(tmp_path, {"red1": "10.0.0.11"})
