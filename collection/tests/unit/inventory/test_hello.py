"""A layer is one declaration: a layer `hello` is a folder, its module, and two lines elsewhere.

The collection, the playbooks and the bootstrap are copied; nodes are this machine, and every other role does nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
CLOUD = "collection/ansible_collections/picluster/cloud"
ROLE = {
    "meta/layer.yml": """\
order: 15
groups:
  hello:
    description: Says hello
    initial: first
columns: [hello]
verify: {each: hello}
busy_units: [hello.service]
""",
    "meta/argument_specs.yml": """\
argument_specs:
  main:
    short_description: Says hello
    options:
      hello_state: {type: str, choices: [present, absent]}
      hello_text: {type: str}
      hello_folder: {type: path}
""",
    "tasks/main.yml": """\
- name: Write the greeting
  ansible.builtin.copy:
    content: "{{ hello_text }}"
    dest: "{{ hello_folder }}/{{ inventory_hostname }}"
    mode: "0644"
  when: hello_state == 'present'

- name: Remove the greeting
  ansible.builtin.file:
    path: "{{ hello_folder }}/{{ inventory_hostname }}"
    state: absent
  when: hello_state == 'absent'

- name: Record the layer
  picluster.cloud.record_layer:
    layer: hello
    present: "{{ hello_state == 'present' }}"
""",
    "tasks/verify.yml": """\
- name: Read the greeting
  picluster.cloud.hello_check:
    node: "{{ inventory_hostname }}"
    path: "{{ hello_folder }}/{{ inventory_hostname }}"
""",
}
MODULE = """\
from pathlib import Path
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({"node": {"type": "str"}, "path": {"type": "path"}})
status = {"node": module.params["node"], "layer": "hello", "state": "ok"}
module.exit_json(picluster_status=[status], picluster_answer=Path(module.params["path"]).read_text())
"""
# Everything that a new layer needs outside its own files: the line above it, and the line.
LINES = {
    "site.yml": (
        "    - {name: Configure hadoop,",
        (
            "    - {name: Configure hello, ansible.builtin.import_tasks: tasks/configure.yml, "
            "vars: {subject: hello}, tags: [hello]}\n"
        ),
    ),
    "layers.yml": (
        "identity_hostname: ",
        "hello_state: \"{{ 'present' if inventory_hostname in groups['hello'] | default([]) else 'absent' }}\"\n",
    ),
}


class House:
    """A copy of the project with the layer `hello`, and an inventory of two nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.red, self.greetings = folder, folder / "inventories/red", folder / "greetings"
        ignore = shutil.ignore_patterns("tests", "__pycache__")
        for name in ("collection", "bootstrap", "playbooks"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        for name in ("site.yml", "ansible.cfg"):
            shutil.copy(ROOT / name, folder)
        # This machine must stay as it is, whatever a run selects.
        for path in folder.glob(f"{CLOUD}/roles/*/tasks/*.yml"):
            path.write_text("[]\n", encoding="utf-8")
        # Ansible checks arguments whatever the tags.
        for path in folder.glob(f"{CLOUD}/roles/*/meta/argument_specs.yml"):
            path.unlink()
        for name, text in ROLE.items():
            self.write(f"{CLOUD}/roles/hello/{name}", text)
        self.write(f"{CLOUD}/plugins/modules/hello_check.py", MODULE)
        for name, (above, line) in LINES.items():
            (path,) = (path for path in folder.rglob(name) if above in path.read_text(encoding="utf-8"))
            text = path.read_text(encoding="utf-8")
            start = text.index(above)
            end = text.index("\n", start) + 1
            path.write_text(text[:end] + line + text[end:], encoding="utf-8")
        self.greetings.mkdir()
        self.run("-m", "picluster", "inventory", "--name", "red[1-2]", "--ips", "192.168.63.[11-12]")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(self, *command: object, code: int = 0) -> str:
        """Run a command of the environment that the tests run in; return what it prints."""
        env = os.environ | {
            "PYTHONPATH": str(self.folder / "bootstrap"),
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "PICLUSTER_SUMMARY": str(self.folder / "summary.json"),
        }
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def groups(self, text: str) -> None:
        self.write("inventories/red/20-roles.yml", f"all: {{children: {{{text}}}}}\n")

    def site(self) -> dict[str, Any]:
        """Run site.yml for hello, and verify; return the summary of each node."""
        self.run("-m", "ansible", "playbook", "site.yml", "-i", self.red, "--tags", "hello,verify")
        nodes: dict[str, Any] = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))["nodes"]
        return nodes

    def refused(self) -> str:
        """Run the inventory check alone, which finds something; return what it prints."""
        check = "picluster.cloud.inventory_check"
        return self.run("-m", "ansible", "adhoc", "localhost", "-i", self.red, "-m", check, code=2)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("house"))
    assert "    # Says hello\n    hello:\n      hosts:\n        red1:\n    # Kubernetes control plane" in (
        house.red / "20-roles.yml"
    ).read_text(encoding="utf-8")
    house.write(
        "inventories/red/group_vars/all/mine.yml",
        "hello_text: \"{{ query('picluster.cloud.layers', 'busy_units') | join(' ') }}\"\n"
        f"hello_folder: {house.greetings}\nansible_connection: local\n",
    )
    house.write(
        "inventories/red/group_vars/nodes/connection.yml",
        f"ansible_user: pi\nansible_python_interpreter: {sys.executable}\n",
    )
    return house


def test_the_inventory_check_knows_its_group_and_its_variables(house: House) -> None:
    house.groups("hallo: {hosts: {red1: , red2: }}")
    house.write("inventories/red/group_vars/all/slip.yml", "hello_txt: Hello\n")
    said = house.refused()
    (house.red / "group_vars/all/slip.yml").unlink()
    assert "The inventory has 2 problems; no node was touched." in said
    assert "20-roles.yml:1: hallo is not a group of picluster; rename it to hello" in said
    assert "slip.yml:1: hello_txt is not a variable of the role hello; did you mean hello_text?" in said


def test_it_is_installed_verified_shown_and_removed_again(house: House) -> None:
    house.groups("hello: {hosts: {red1: , red2: }}")
    nodes = house.site()
    assert [node["layers"] for node in nodes.values()] == [{"hello": "ok"}, {"hello": "ok"}]
    assert sorted(path.name for path in house.greetings.iterdir()) == ["red1", "red2"]
    # Its units keep a node busy, in the order of the layers.
    busy = "docker.service hello.service k3s*.service hadoop-*.service"
    assert (house.greetings / "red1").read_text(encoding="utf-8") == busy

    house.groups("hello: {hosts: {red1: }}")
    nodes = house.site()
    assert [node["layers"]["hello"] for node in nodes.values()] == ["ok", "-"]
    assert [path.name for path in house.greetings.iterdir()] == ["red1"]

    # red1 is the last node with it.
    house.groups("")
    said = house.refused()
    assert "hello would be removed from red1, the last node with it; put it back into hello, or confirm" in said
