#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Keep a node's firewall: a table of its own beside those of Docker and Kubernetes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Who may reach what on a node
description:
  - Keeps the nftables table C(inet picluster), its file C(/etc/picluster/firewall.nft) and the unit
    C(picluster-firewall.service), which loads it before there is a network. No other table is touched, so that what
    Docker and Kubernetes have set up stays as it is.
  - The nodes and the O(management) networks may reach everything, strangers ssh only. That holds for what containers
    publish and for NodePorts too, which do not pass the input chain.
  - The rules are judged by C(nft --check) before anything is written, and replaced in one transaction.
  - The address that Ansible comes from, as the node sees it, is always let in for ssh.
version_added: 0.1.0
options:
  state:
    description: Whether there is to be a firewall; V(absent) takes table, file and unit away.
    type: str
    choices: [present, absent]
    default: present
  nodes:
    description: Addresses of the cluster's nodes.
    type: list
    elements: str
    default: []
  node_ports:
    description: Ports that the nodes may reach of each other, such as V(6443) or V(8472/udp); V([all]) for everything.
    type: list
    elements: raw
    default: [all]
  management:
    description: Addresses and networks that may reach everything.
    type: list
    elements: str
    default: []
  public_ports:
    description:
      - Ports that everybody may reach, such as V(80), V(8000-8010) or V(53/udp). A port that a container publishes or
        a NodePort is listed as the one that is knocked at.
    type: list
    elements: raw
    default: []
  strangers_ssh:
    description: Whether everybody may knock at sshd.
    type: bool
    default: true
  ssh_port:
    description: The port of sshd.
    type: int
    default: 22
  interface:
    description: The node's own network interface, which must not be taken for a container's.
    type: str
    default: ""
  container_interfaces:
    description:
      - Interfaces behind which this node's containers and pods are, with a star at the end at most. What comes from
        there is not a stranger's.
    type: list
    elements: str
    default: [br-*, cali*, cni*, docker*, flannel*, veth*]
  lock_timeout:
    description: Seconds to wait for another program that holds the package database.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
    description: Lets C(nft) judge the rules, says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the files before and after, or where somebody changed the running rules, those.
  idempotent:
    support: full
    description: A second call changes nothing and loads nothing.
author: The picluster authors
"""

EXAMPLES = r"""
- name: Let strangers see ssh and a web server only
  picluster.cloud.firewall:
    nodes: [192.168.1.11, 192.168.1.12]
    management: [192.168.1.5]
    public_ports: [80, 443]
"""

RETURN = r"""
loaded:
  description: Whether rules were put in force.
  returned: success
  type: bool
controller:
  description: The address that Ansible came from, as the node sees it; empty without ssh.
  returned: success
  type: str
  sample: 192.168.1.5
"""

import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils import _firewall
from ansible_collections.picluster.cloud.plugins.module_utils._apt import Apt
from ansible_collections.picluster.cloud.plugins.module_utils._connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils._files import TextFiles, card_trouble, read_text
from ansible_collections.picluster.cloud.plugins.module_utils._firewall import NFT, RULES, TABLE, UNIT

UNIT_FILE = f"/etc/systemd/system/{UNIT}"
PACKAGE = "nftables"
# Loads rules where they bind nobody, to see how the kernel and this release of nft spell them.
SCRATCH = f'{NFT} -f "$1" && {NFT} --stateless list table {TABLE}'


def read_policy(params: dict[str, Any], client: str) -> _firewall.Policy:
    """Return the policy that the module's options mean.

    Args:
        params: the module's options.
        client: the address that Ansible comes from, as the node sees it; empty if it does not come by ssh.

    Raises:
        ValueError: an option that makes no sense, or a policy that lets nobody in; the message is one sentence.
    """
    management = _firewall.parse_networks(params["management"], "management")
    # Where everybody may knock, one more address would only make the rules depend on who ran Ansible last.
    known = client and not params["strangers_ssh"]
    if not (client or params["strangers_ssh"] or management):
        raise ValueError(
            "strangers_ssh is off, management is empty, and Ansible did not come by ssh: nobody could log in; name who "
            "may, in management"
        )
    return _firewall.Policy(
        nodes=_firewall.parse_networks(params["nodes"], "nodes"),
        node_ports=_firewall.parse_node_ports(params["node_ports"]),
        controller=(_firewall.parse_client(client),) if known else (),
        management=management,
        ssh_port=_firewall.check_ssh_port(params["ssh_port"]),
        strangers_ssh=params["strangers_ssh"],
        public=_firewall.parse_ports(params["public_ports"], "public_ports"),
        containers=_firewall.check_containers(params["container_interfaces"], params["interface"]),
    )


class Firewall:
    """The node's table, its file and its unit."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self.files = TextFiles(module)
        self.loaded = False

    def _run(self, *command: str) -> str:
        rc, out, err = self._module.run_command(list(command))
        if rc != 0:
            raise ValueError(f"{' '.join(command)} failed: {' '.join((err or out).split())}")
        return str(out)

    def _note(self, what: str, before: str, after: str) -> None:
        headers = {"before_header": what, "after_header": what}
        self.files.diff.append({**headers, "before": before, "after": after})

    def present(self, text: str) -> None:
        """Have exactly these rules in force, now and after every start."""
        fresh = self._packages()
        before = read_text(RULES)
        live, wanted = (None, None) if fresh else (self._live(), self._judge(text))
        # Somebody took the table away or changed it, or a run was killed before it loaded the file.
        adrift = live is None or (wanted is not None and live != wanted)
        self.files.put(UNIT_FILE, _firewall.unit_text())
        anew = bool(self.files.diff)
        changes = self.files.put(RULES, text)
        if adrift and not changes:
            self._note(f"table {TABLE}", live or "", wanted or text)
        if changes or adrift:
            self._load(before)
        self._enable(anew=anew)

    def _packages(self) -> bool:
        """Have nft; say whether there is none, because check mode may not install it."""
        if Path(NFT).exists():
            return False
        self._note("packages", "", f"{PACKAGE}\n")
        if self._module.check_mode:
            return True
        Apt(self._module, self._module.params["lock_timeout"]).install([PACKAGE], optional=set())
        return False

    def _live(self) -> str | None:
        """Return the table as it is in force, without counters, or None if there is none."""
        rc, out, _err = self._module.run_command([NFT, "--stateless", "list", "table", *TABLE.split()])
        return str(out) if rc == 0 else None

    def _judge(self, text: str) -> str | None:
        """Return how nft would list these rules, or None where the node cannot try them out.

        Raises:
            ValueError: nft or the kernel refuses them; the message has their words.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".nft", encoding="utf-8") as candidate:
            candidate.write(text)
            candidate.flush()
            rc, out, _err = self._module.run_command(["unshare", "--net", "sh", "-c", SCRATCH, "sh", candidate.name])
            if rc == 0:
                return str(out)
            # Either the rules are wrong, or there are no network namespaces here: --check knows without one.
            rc, out, err = self._module.run_command([NFT, "--check", "--file", candidate.name])
            if rc != 0:
                words = " ".join((err or out).replace(candidate.name, Path(RULES).name).split())
                raise ValueError(f"nft does not accept the rules, and none were changed: {words}")
        return None

    def _load(self, before: str | None) -> None:
        """Put the file in force; if the kernel refuses, the former file is back beside the former rules."""
        self.loaded = True
        if self._module.check_mode:
            return
        try:
            self._run(NFT, "--file", RULES)
        except ValueError:
            if before is None:
                self.files.remove(RULES)
            else:
                self.files.put(RULES, before)
            raise

    def _enable(self, *, anew: bool) -> None:
        """Have the unit started now and at every start of the node."""
        if anew and not self._module.check_mode:
            self._run("systemctl", "daemon-reload")
        out = self._run("systemctl", "show", UNIT, "--property=ActiveState,UnitFileState")
        unit = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        for key, wanted, verb in (("UnitFileState", "enabled", "enable"), ("ActiveState", "active", "start")):
            if unit.get(key) != wanted:
                self._note(UNIT, f"{unit.get(key, '')}\n", f"{wanted}\n")
                if not self._module.check_mode:
                    self._run("systemctl", verb, UNIT)

    def absent(self) -> None:
        """Take table, file and unit away."""
        if read_text(UNIT_FILE) is not None:
            if not self._module.check_mode:
                self._run("systemctl", "disable", "--now", UNIT)
            self.files.remove(UNIT_FILE)
            if not self._module.check_mode:
                self._run("systemctl", "daemon-reload")
        self.files.remove(RULES)
        live = self._live() if Path(NFT).exists() else None
        if live is not None:
            self._note(f"table {TABLE}", live, "")
            if not self._module.check_mode:
                self._run(NFT, "delete", "table", *TABLE.split())


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "nodes": {"type": "list", "elements": "str", "default": []},
            "node_ports": {"type": "list", "elements": "raw", "default": ["all"]},
            "management": {"type": "list", "elements": "str", "default": []},
            "public_ports": {"type": "list", "elements": "raw", "default": []},
            "strangers_ssh": {"type": "bool", "default": True},
            "ssh_port": {"type": "int", "default": _firewall.SSH_PORT},
            "interface": {"type": "str", "default": ""},
            "container_interfaces": {"type": "list", "elements": "str", "default": list(_firewall.CONTAINERS)},
            "lock_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    connection = current_connection()
    client = connection.client if connection else ""
    firewall = Firewall(module)
    try:
        if module.params["state"] == "present":
            firewall.present(_firewall.rules_text(read_policy(module.params, client)))
        else:
            firewall.absent()
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    module.exit_json(
        changed=firewall.files.changed, loaded=firewall.loaded, controller=client, diff=firewall.files.diff
    )


if __name__ == "__main__":
    main()
