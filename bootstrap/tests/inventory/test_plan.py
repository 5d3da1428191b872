from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml

from picluster.errors import PiclusterError
from picluster.inventory import plan
from picluster.inventory.groups import declared_groups
from picluster.inventory.plan import InventoryRequest


def _request(folder: Path, first: int = 1, last: int = 3, **changes: Any) -> InventoryRequest:
    nodes = [f"red{number}" for number in range(first, last + 1)]
    addresses = {name: IPv4Address(f"192.168.63.{10 + int(name[3:])}") for name in nodes}
    settings: dict[str, Any] = {"folder": folder, "names": nodes, "addresses": addresses}
    return InventoryRequest(**settings | changes)


def _make(folder: Path, *args: int, **changes: Any) -> plan.Plan:
    planned = plan.plan(_request(folder, *args, **changes))
    plan.apply(planned)
    return planned


def _snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inventories" / "red"


def test_the_region_that_cards_were_told_is_the_nodes_later_on_too(folder: Path) -> None:
    _make(folder, region={"identity_timezone": "Europe/Berlin", "identity_locale": "de_DE.UTF-8"})
    _make(folder)
    said = _load(folder / "group_vars/all/cluster.yml")
    assert (said["identity_timezone"], said["identity_locale"]) == ("Europe/Berlin", "de_DE.UTF-8")


def test_the_inventory_is_as_agreed(folder: Path) -> None:
    _make(folder, arch="amd64")
    assert sorted(_snapshot(folder)) == [
        ".gitignore",
        "10-nodes.yml",
        "20-roles.yml",
        "group_vars/all/cluster.yml",
        "group_vars/all/secrets.yml",
        "group_vars/nodes/connection.yml",
        "reservations.dnsmasq",
    ]
    assert "        red1: {node_address: 192.168.63.11}\n" in (folder / "10-nodes.yml").read_text(encoding="utf-8")
    assert _load(folder / "20-roles.yml")["all"]["children"] == {
        "docker": {"children": {"nodes": None}},
        "k3s_server": {"hosts": {"red1": None}},
        "k3s_agent": {"hosts": {"red2": None, "red3": None}},
        "hadoop_master": {"hosts": {"red1": None}},
        "hadoop_worker": {"hosts": {"red2": None, "red3": None}},
    }
    assert _load(folder / "group_vars/all/cluster.yml") == {
        "cluster_name": "red",
        "node_interface": "eth0",
        "node_prefix": 24,
        "node_gateway": "192.168.63.1",
        "node_dns": ["192.168.63.1"],
        "node_arch": "amd64",
    }


def test_the_groups_are_those_of_the_collection_in_order_with_their_reason(folder: Path) -> None:
    _make(folder)
    # The inventory of the checkout was written by the same command.
    example = Path(__file__).parents[3] / "inventories/red/20-roles.yml"
    head = "Which node runs which layer. "
    made = (folder / "20-roles.yml").read_text(encoding="utf-8").partition("\n# ")[2]
    assert made.startswith(head)
    assert made.partition("\n")[2] == example.read_text(encoding="utf-8").partition(head)[2].partition("\n")[2]


@pytest.mark.parametrize("place", [".", "../collection"], ids=["wheel", "checkout"])
def test_the_collection_is_found_beside_the_program(tmp_path: Path, place: str) -> None:
    program = tmp_path / "lib/picluster"
    program.mkdir(parents=True)
    with pytest.raises(PiclusterError, match=r"the collection picluster\.cloud is missing: .* install picluster again"):
        declared_groups(program)
    for order, name in ((20, "a"), (10, "b")):
        meta = tmp_path / "lib" / place / f"ansible_collections/picluster/cloud/roles/{name}/meta"
        meta.mkdir(parents=True)
        (meta / "layer.yml").write_text(f"order: {order}\ngroups: {{{name}: {{initial: all}}}}\n", encoding="utf-8")
    assert declared_groups(program) == {"b": {"initial": "all"}, "a": {"initial": "all"}}


def test_a_single_node_is_its_own_worker(folder: Path) -> None:
    _make(folder, 1, 1)
    groups = _load(folder / "20-roles.yml")["all"]["children"]
    assert groups["k3s_agent"] == {"hosts": {}}
    assert groups["hadoop_worker"] == {"hosts": {"red1": None}}


def test_ansible_reads_it(folder: Path) -> None:
    _make(folder, private_key=folder.parent.parent / "keys" / "lab")
    (folder / "known_hosts").touch()
    config = folder.parent.parent / "ansible.cfg"
    config.touch()
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-inventory"), "-i", folder, "--list"],
        env=os.environ
        | {
            "ANSIBLE_CONFIG": str(config),
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
            "ANSIBLE_INVENTORY_IGNORE_PATTERNS": "^known_hosts,\\.dnsmasq$",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    red2 = found["_meta"]["hostvars"]["red2"]
    assert (red2["node_address"], red2["ansible_user"], red2["cluster_name"]) == ("192.168.63.12", "pi", "red")
    assert red2["ansible_ssh_private_key_file"] == "{{ inventory_dir }}/../../keys/lab"
    assert found["docker"] == {"children": ["nodes"]}
    assert found["k3s_agent"]["hosts"] == ["red2", "red3"]


def test_ssh_takes_the_arguments_even_where_the_path_has_a_blank(folder: Path) -> None:
    _make(folder)
    arguments = _load(folder / "group_vars/nodes/connection.yml")["ansible_ssh_common_args"]
    arguments = arguments.replace("{{ inventory_dir }}", "/a path/red").replace("{{ inventory_hostname }}", "red1")
    # Ansible splits the words as a shell does.
    command = ["ssh", "-F", "none", "-G", *shlex.split(arguments), "192.0.2.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    settings = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert settings["userknownhostsfile"] in ("/a path/red/known_hosts", '"/a path/red/known_hosts"')
    assert settings["hostkeyalias"] == "red1"
    assert settings["stricthostkeychecking"] == "accept-new"
    assert settings["kexalgorithms"].startswith("curve25519-sha256,")
    assert "sntrup761" in settings["kexalgorithms"]


def test_a_second_run_writes_nothing(folder: Path) -> None:
    _make(folder)
    before = _snapshot(folder)
    planned = _make(folder)
    assert (planned.writes, planned.make_secret) == ({}, False)
    assert _snapshot(folder) == before


def test_the_secret_is_made_once_for_the_owner_alone(folder: Path) -> None:
    _make(folder)
    path = folder / "group_vars/all/secrets.yml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = _load(path)["cluster_secret"]
    assert isinstance(secret, str)
    assert len(bytes.fromhex(secret)) == 32
    before = path.read_bytes()
    _make(folder, 1, 5)
    with ExitStack() as undo:
        plan._make_secret(path, undo)  # as a second command does that planned before the first one wrote
    assert path.read_bytes() == before
    other = folder.parent / "blue"
    _make(other)
    assert _load(other / "group_vars/all/secrets.yml")["cluster_secret"] != secret


def test_git_sees_no_secret(folder: Path) -> None:
    planned = _make(folder)
    assert next(iter(planned.writes)) == folder / ".gitignore", "git must not see the secret for a moment"
    (folder / "seen.json").touch()
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=folder.parent, check=True)
    listed = subprocess.run(["git", "ls-files"], cwd=folder.parent, check=True, capture_output=True, text=True).stdout
    hidden = {"group_vars/all/secrets.yml", "seen.json"}
    assert set(listed.split()) == {f"red/{name}" for name in set(_snapshot(folder)) - hidden}


def test_a_folder_without_gitignore_gets_one_and_an_edited_one_stays(folder: Path) -> None:
    _make(folder)
    ignore = folder / ".gitignore"
    written = ignore.read_bytes()
    ignore.unlink()
    assert _make(folder).writes == {ignore: written}
    ignore.write_bytes(b"")
    _make(folder, 1, 5)
    assert ignore.read_bytes() == b""


def test_edits_and_comments_survive_and_new_nodes_are_added(folder: Path) -> None:
    _make(folder)
    nodes = folder / "10-nodes.yml"
    text = nodes.read_text(encoding="utf-8")
    text = text.replace(
        "red2: {node_address: 192.168.63.12}",
        "red2:  # the loud one\n          node_address: 192.168.63.12\n          node_arch: armhf",
    )
    text += "    spare:\n      hosts:\n        red9: {node_address: 192.168.63.99}\n"
    nodes.write_text(text, encoding="utf-8")
    cluster = folder / "group_vars/all/cluster.yml"
    cluster.write_text(
        "---\n# our net\nnode_gateway: 192.168.63.254  # the old router\nnode_prefix: 24\n"
        "mine: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3132\n",
        encoding="utf-8",
    )
    roles = folder / "20-roles.yml"
    roles.write_text("# mine\nall: {children: {docker: {hosts: {red1: }}}}\n", encoding="utf-8")
    planned = _make(folder, 4, 4)
    assert _load(nodes)["all"]["children"]["nodes"]["hosts"]["red2"]["node_arch"] == "armhf"
    assert "# the loud one" in nodes.read_text(encoding="utf-8")
    assert "        red4: {node_address: 192.168.63.14}\n" in nodes.read_text(encoding="utf-8")
    assert "red9" in nodes.read_text(encoding="utf-8")
    assert "node_gateway: 192.168.63.254  # the old router\n" in cluster.read_text(encoding="utf-8")
    assert "!vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3132\n" in cluster.read_text(encoding="utf-8")
    assert roles.read_text(encoding="utf-8").startswith("# mine\n")
    assert str(planned.net.gateway) == "192.168.63.254"
    assert any("red4" in note and "20-roles.yml" in note for note in planned.notes)
    assert [
        line for line in (folder / "reservations.dnsmasq").read_text(encoding="utf-8").splitlines() if "red4" in line
    ]


def test_an_option_that_is_given_is_newer_than_the_file_and_says_so(folder: Path) -> None:
    _make(folder)
    planned = _make(folder, gateway="192.168.63.254", user="me")
    assert _load(folder / "group_vars/all/cluster.yml")["node_gateway"] == "192.168.63.254"
    assert planned.user == "me"
    assert any("was 192.168.63.1, is now 192.168.63.254" in note for note in planned.notes)
    # Values that are not given stay unchanged.
    assert _make(folder).user == "me"


def test_a_node_burnt_again_needs_no_address(folder: Path) -> None:
    _make(folder)
    planned = plan.plan(_request(folder, 2, 2, addresses=None))
    assert planned.writes == {}
    with pytest.raises(PiclusterError, match="red7 has no address"):
        plan.plan(_request(folder, 7, 7, addresses=None))


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("10-nodes.yml", "all: [", "not valid YAML in line"),
        ("10-nodes.yml", "- a\n", "must be a mapping, got a list"),
        ("10-nodes.yml", "junk\n", 'must be a mapping, got the string "junk"; correct it first'),
        ("10-nodes.yml", "all: {children: {nodes: 5}}\n", "all.children.nodes"),
        (
            "10-nodes.yml",
            "all: {children: {nodes: {hosts: {red8: {node_address: x}}}}}\n",
            "node_address x of red8 is not",
        ),
        ("10-nodes.yml", "all: {children: {nodes: {hosts: {red8: {node_address: 192.168.63.12}}}}}\n", "red2 and red8"),
        (
            "10-nodes.yml",
            "all: {children: {nodes: {hosts: {red8: {node_address: 10.0.0.1}}}}}\n",
            "the address of red8, 10.0.0.1,",
        ),
        ("group_vars/all/cluster.yml", "node_prefix: many\n", "node_prefix 'many'"),
        ("group_vars/all/cluster.yml", "node_gateway: 10.1.1.1\n", "10.1.1.1 is not in"),
        ("group_vars/all/cluster.yml", "node_dns: 10.1.1.1\n", "node_dns must be a list"),
        ("20-roles.yml", "all: {children: {red1: {hosts: {}}}}\n", "'red1' is the name of a group"),
    ],
)
def test_an_inventory_that_does_not_fit_is_named_and_left_alone(folder: Path, file: str, text: str, says: str) -> None:
    path = folder / file
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    before = _snapshot(folder)
    with pytest.raises(PiclusterError) as caught:
        plan.plan(_request(folder))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _snapshot(folder) == before


def test_planning_writes_nothing(folder: Path) -> None:
    plan.plan(_request(folder))
    assert not folder.exists()


def test_another_userland_than_the_clusters_is_noted(folder: Path) -> None:
    _make(folder, arch="arm64")
    planned = plan.plan(_request(folder, 4, 4, guessed_arch="armhf"))
    assert any("armhf" in note for note in planned.notes)
    assert not any("armhf" in note for note in plan.plan(_request(folder, 4, 4, guessed_arch="arm64")).notes)


@pytest.mark.parametrize(
    ("key", "shown"), [("project/keys/a", "{{ inventory_dir }}/../../keys/a"), ("home/.ssh/a", "~/.ssh/a")]
)
def test_a_keys_path_holds_on_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, shown: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "project" / "inventories" / "red"
    _make(folder, private_key=tmp_path / key)
    assert _load(folder / "group_vars/nodes/connection.yml")["ansible_ssh_private_key_file"] == shown


def test_a_write_that_fails_leaves_the_old_file_and_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make(folder)
    before = _snapshot(folder)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(PiclusterError, match="No space left on device; nothing was changed"):
        _make(folder, 1, 5)
    assert _snapshot(folder) == before


def test_host_keys_of_new_cards_are_forgotten(folder: Path) -> None:
    _make(folder)
    assert not plan.forget_host_keys(folder, ["red1"])
    (folder / "known_hosts").write_text("red1 ssh-ed25519 AA\nred2 ssh-ed25519 AA\n", encoding="utf-8")
    assert plan.forget_host_keys(folder, ["red1"])
    assert (folder / "known_hosts").read_text(encoding="utf-8") == "red2 ssh-ed25519 AA\n"
    assert not plan.forget_host_keys(folder, ["red1"])
