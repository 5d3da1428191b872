"""Removal of nodes from the inventory: what users edited stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cardkit import run
from hypothesis import given
from hypothesis import strategies as st

from picluster import cli
from picluster.errors import PiclusterError
from picluster.inventory import edit, known_hosts, reservations
from picluster.inventory.yamlcut import cut
from picluster.inventory.yamlfile import YamlFile

if TYPE_CHECKING:
    from collections.abc import Sequence

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "removals.yml").read_text(encoding="utf-8"))
RED = Path("inventories/red")
FILES = ("20-roles.yml", "10-nodes.yml", "reservations.dnsmasq", "known_hosts")


@pytest.fixture
def red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of a new inventory of red1 to red3, with host keys."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["inventory", "--name", "red[1-3]", "--ips", "192.168.63.[11-13]"]) == 0
    (RED / "known_hosts").write_text("red1 ssh-ed25519 AA\nred2,10.0.0.2 ssh-ed25519 BB\n", encoding="utf-8")
    return RED


def _snapshot() -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in RED.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("red")
def test_a_removal_hides_the_secrets_of_an_older_folder_from_git() -> None:
    (RED / ".gitignore").unlink()
    edited = edit.remove(RED, ["red3"])
    assert next(iter(edited.writes)) == RED / ".gitignore"
    edited.apply()
    assert "/group_vars/all/secrets.yml\n" in (RED / ".gitignore").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_what_is_not_the_leaving_nodes_stays_to_the_byte(tmp_path: Path, case: dict[str, Any]) -> None:
    path = tmp_path / "20-roles.yml"
    path.write_text(case["before"], encoding="utf-8")
    file = YamlFile(path, "")
    if "refused" in case:
        with pytest.raises(PiclusterError) as caught:
            cut(case["before"], list(edit._memberships(file, case["remove"])), path)
        assert case["refused"] in str(caught.value)
        return
    victims = list(edit._memberships(file, case["remove"]))
    assert cut(case["before"], victims, path) == case["after"]


@given(st.data())
def test_any_keys_may_leave_any_mapping(data: st.DataObject) -> None:
    names = st.sampled_from([f"red{number}" for number in range(1, 6)])
    tree = data.draw(
        st.dictionaries(
            names, st.none() | st.dictionaries(names, st.sampled_from([1, "", "x: y", "# no", "it's", "{}"]))
        )
    )
    text = yaml.safe_dump(tree, default_flow_style=data.draw(st.sampled_from([True, False, None])))
    victims = [(key,) for key in data.draw(st.sets(names))]
    victims += [(key, below) for key in tree for below in data.draw(st.sets(names))]
    left = {
        key: value and {below: one for below, one in value.items() if (key, below) not in victims}
        for key, value in tree.items()
        if (key,) not in victims
    }
    found = yaml.safe_load(cut(text, victims, "it")) or {}
    assert {key: value or None for key, value in found.items()} == {key: value or None for key, value in left.items()}


def test_a_node_leaves_every_file(red: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: (red / name).read_text(encoding="utf-8") for name in FILES}
    assert cli.main(["inventory", "--name", "red2", "--remove"]) == 0
    for name in FILES:
        after = (red / name).read_text(encoding="utf-8").splitlines()
        lines = before[name].splitlines()
        assert after == [line for line in lines if "red2" not in line]
        assert len(after) < len(lines)
    said = capsys.readouterr().out
    assert "red2 leaves k3s_agent, hadoop_worker" in said
    assert "wrote inventories/red/known_hosts, inventories/red/reservations.dnsmasq" in said
    # Ansible reads the inventory without warnings, and does not have the node any more.
    ansible = [Path(sys.executable).with_name("ansible-inventory"), "-i", red / "10-nodes.yml"]
    done = subprocess.run([*ansible, "-i", red / "20-roles.yml", "--list"], capture_output=True, text=True, check=True)
    assert "red2" not in done.stdout
    assert json.loads(done.stdout)["k3s_agent"]["hosts"] == ["red3"]


def test_a_group_that_becomes_empty_is_still_one_for_ansible_and_for_us(red: Path) -> None:
    assert cli.main(["inventory", "--name", "red[2-3]", "--remove"]) == 0
    ansible = [Path(sys.executable).with_name("ansible-inventory"), "-i", red / "10-nodes.yml"]
    done = subprocess.run([*ansible, "-i", red / "20-roles.yml", "--list"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["hadoop_master"]["hosts"] == ["red1"]
    assert "k3s_agent" not in json.loads(done.stdout)
    assert done.stderr == ""
    assert cli.main(["inventory", "--name", "red4", "--ips", "192.168.63.14"]) == 0


def test_a_removal_that_was_cut_short_is_finished_by_the_same_command(
    red: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = edit.remove(red, ["red2"])
    written = list(planned.writes)
    assert written[-1] == red / "10-nodes.yml"
    for path in written[:-1]:
        path.write_bytes(planned.writes[path])
    assert cli.main(["inventory", "--name", "red2", "--remove"]) == 0
    assert "red2" not in "".join(path.read_text(encoding="utf-8") for path in written)


def test_a_dry_run_removes_nothing(red: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _snapshot()
    assert cli.main(["inventory", "--name", "red2", "--remove", "--dry-run", "--json"]) == 0
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert sorted(Path(path).name for path in event["files"]) == sorted(FILES)
    assert _snapshot() == before


def test_a_node_that_came_back_is_as_a_new_one(red: Path) -> None:
    before = (red / "10-nodes.yml").read_text(encoding="utf-8")
    assert cli.main(["inventory", "--name", "red3", "--remove"]) == 0
    assert cli.main(["inventory", "--name", "red3", "--ips", "192.168.63.13"]) == 0
    assert (red / "10-nodes.yml").read_text(encoding="utf-8") == before


def test_settings_of_a_node_in_a_file_of_its_own_are_pointed_at(red: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (red / "host_vars").mkdir()
    for name in ("red2.yml", "red20.yml"):
        (red / "host_vars" / name).write_text("a: 1\n", encoding="utf-8")
    assert cli.main(["inventory", "--name", "red2", "--remove"]) == 0
    said = capsys.readouterr().out
    assert "inventories/red/host_vars/red2.yml was not removed" in said
    assert "red20" not in said


BAD: dict[str, tuple[Sequence[str], str]] = {
    "unknown": (["--name", "red[2-4]"], "red4 is not in inventories/red/10-nodes.yml"),
    "all": (["--name", "red[1-3]"], "no node would be left: to remove the cluster, delete the folder inventories/red"),
    "no cluster": (["--name", "blue1"], "there is no cluster blue in inventories (found: red)"),
    "addresses": (["--name", "red2", "--ips", "192.168.63.12"], "--ips does not apply to nodes that are removed"),
    "key": (["--name", "red2", "--key", "k.pub"], "--key does not apply"),
    "dns": (["--name", "red2", "--dns", "9.9.9.9"], "--dns does not apply"),
    "prefix": (["--name", "red2", "--prefix", "0"], "--prefix does not apply"),
    "range": (["--name", "red[3-2]"], "is not a range"),
    "no name": ([], "required: --name"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_removes_nothing(red: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    arguments, says = BAD[what]
    before = _snapshot()
    capsys.readouterr()
    assert cli.main(["inventory", "--remove", *arguments]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert _snapshot() == before


def test_only_the_leaving_nodes_reservations_go() -> None:
    text = "# red2\nid:red2,red2,10.0.0.2\r\n02:00:00:00:00:01,red2,10.0.0.9,12h\nred20,10.0.0.20\nprinter,10.0.0.3"
    assert reservations.remove(text, ["red2"]) == "# red2\nred20,10.0.0.20\nprinter,10.0.0.3"


def test_a_new_key_of_a_node_leaves_the_lines_below_it_below_it(tmp_path: Path) -> None:
    path = tmp_path / "10-nodes.yml"
    text = (
        "hosts:\n  red1:\n    node_address: 10.0.0.1  # beside\n\n  # about red2\n  red2:\n    node_address: 10.0.0.2\n"
    )
    path.write_text(text, encoding="utf-8")
    file = YamlFile(path, "")
    file.put(file.data["hosts"]["red1"], "node_mac", "x")
    changed = (file.changed() or b"").decode()
    assert changed == "---\n" + text.replace("beside\n", "beside\n    node_mac: x\n")


def test_a_fingerprint_is_what_ssh_keygen_says(tmp_path: Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    key = " ".join((tmp_path / "key.pub").read_text(encoding="ascii").split()[:2])
    assert known_hosts.fingerprint(key) == run("ssh-keygen", "-l", "-f", tmp_path / "key.pub").split()[1]
