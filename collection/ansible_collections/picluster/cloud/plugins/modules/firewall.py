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
    Docker and Kubernetes have set up stays as it is. Debian's C(nftables.service), which flushes all tables, gets a
    drop-in that loads this one again.
  - The nodes and the O(management) networks may reach everything, strangers ssh only. That holds for what containers
    publish and for NodePorts too, which do not pass the input chain.
  - The rules are judged by C(nft --check) before anything is written, and replaced in one transaction. They stay
    only if a new login from the controller gets through them; otherwise the node takes them back by itself.
  - The address that Ansible comes from, as the node sees it, is always let in for ssh.
version_added: 0.1.0
extends_documentation_fragment: [picluster.cloud.confirmed]
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
author: [The picluster authors]
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

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import ARGUMENTS, Rollback, check_window
from ansible_collections.picluster.cloud.plugins.module_utils.firewall import rules
from ansible_collections.picluster.cloud.plugins.module_utils.firewall.rules import NFT, RULES, TABLE, UNIT
from ansible_collections.picluster.cloud.plugins.module_utils.node.commands import run_checked
from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles, card_trouble, read_text
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_packages import Apt

UNIT_FILE = f"/etc/systemd/system/{UNIT}"
DROPIN = "/etc/systemd/system/nftables.service.d/picluster.conf"
PACKAGE = "nftables"
# Loads rules where they bind nobody, to see how the kernel and this release of nft spell them.
SCRATCH = f'{NFT} -f "$1" && {NFT} --stateless list table {TABLE}'

_DELETE = f"{NFT} delete table {TABLE} 2>/dev/null || :"
# What the way back runs once the former file is there again: by whether there were no rules in force before.
BACK = {
    False: ["sh", "-c", f"if test -e {RULES}; then {NFT} -f {RULES}; else {_DELETE}; fi"],
    True: ["sh", "-c", _DELETE],
}


def read_policy(params: dict[str, Any], client: str) -> rules.Policy:
    """Return the policy that the module's options mean.

    Args:
        params: the module's options.
        client: the address that Ansible comes from, as the node sees it; empty if it does not come by ssh.

    Raises:
        ValueError: an option that makes no sense, or a policy that lets nobody in; the message is one sentence.
    """
    management = rules.parse_networks(params["management"], "management")
    # Where everybody may knock, one more address would only make the rules depend on who ran Ansible last.
    known = client and not params["strangers_ssh"]
    if not (client or params["strangers_ssh"] or management):
        raise ValueError(
            "strangers_ssh is off, management is empty, and Ansible did not come by ssh: nobody could log in; name who "
            "may, in management"
        )
    return rules.Policy(
        nodes=rules.parse_networks(params["nodes"], "nodes"),
        node_ports=rules.parse_node_ports(params["node_ports"]),
        controller=(rules.parse_client(client),) if known else (),
        management=management,
        ssh_port=rules.check_ssh_port(params["ssh_port"]),
        strangers_ssh=params["strangers_ssh"],
        public=rules.parse_ports(params["public_ports"], "public_ports"),
        containers=rules.check_containers(params["container_interfaces"], params["interface"]),
    )


class Firewall:
    """The node's table, its file and its unit."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self.files = TextFiles(module)
        self.loaded = False
        self.confirm: dict[str, Any] | None = None
        self._rollback = Rollback(Node(module), "firewall")

    def _run(self, *command: str) -> str:
        return run_checked(self._module, *command)

    def _note(self, what: str, before: str, after: str) -> None:
        headers = {"before_header": what, "after_header": what}
        self.files.diff.append({**headers, "before": before, "after": after})

    def present(self, text: str) -> None:
        """Have exactly these rules in force, now and after every start."""
        check_window(self._module.params["confirm_within"])
        fresh = self._packages()
        unconfirmed = self._finish()
        live, wanted = (None, None) if fresh else (self._live(), self._judge(text))
        # Somebody took the table away or changed it, or a run was killed before it loaded the file.
        adrift = live is None or (wanted is not None and live != wanted)
        self.files.put(UNIT_FILE, rules.unit_text())
        self.files.put(DROPIN, rules.dropin_text())
        try:
            if read_text(RULES) != text or adrift or unconfirmed:
                self._replace(text, live, wanted or text)
            self._enable()
        except (ValueError, OSError):
            if self.confirm:
                self._rollback.undo()
            raise

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

    def _finish(self) -> bool:
        """Finish a way back that was cut off; say whether rules of an earlier run still wait for a confirmation."""
        found = self._rollback.state()
        if found and found.restoring and not self._module.check_mode:
            self._rollback.undo()
        return found is not None

    def _replace(self, text: str, live: str | None, listed: str) -> None:
        """Put the rules in force, until they are confirmed or the node takes them back."""
        self.loaded = True
        if not self._module.check_mode:
            window, token = self._module.params["confirm_within"], self._module.params["confirm_token"]
            self.confirm = self._rollback.arm(window, token, [RULES], [BACK[live is None]])
        if not self.files.put(RULES, text):
            self._note(f"table {TABLE}", live or "", "unconfirmed\n" if live == listed else listed)
        if not self._module.check_mode:
            self._run(NFT, "--file", RULES)

    def _enable(self) -> None:
        """Have the unit started now and at every start of the node."""
        # Asked, not concluded from what was written: a run may have been killed after it wrote.
        if "yes" in self._run("systemctl", "show", UNIT, "nftables.service", "--property=NeedDaemonReload"):
            self._note("systemd", "former units\n", "daemon-reload\n")
            if not self._module.check_mode:
                self._run("systemctl", "daemon-reload")
        out = self._run("systemctl", "show", UNIT, "--property=ActiveState,UnitFileState")
        unit = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        for key, wanted, verb in (("UnitFileState", "enabled", "enable"), ("ActiveState", "active", "start")):
            if unit.get(key) != wanted:
                self._note(UNIT, f"{unit.get(key, '')}\n", f"{wanted}\n")
                if not self._module.check_mode:
                    self._run("systemctl", verb, UNIT)

    def absent(self) -> None:
        """Take table, file and unit away, which locks nobody out."""
        if self._rollback.state() and not self._module.check_mode:
            # What comes back later would come back for good.
            self._rollback.undo()
        if read_text(UNIT_FILE) is not None and not self._module.check_mode:
            self._run("systemctl", "disable", "--now", UNIT)
        live = self._live() if Path(NFT).exists() else None
        if live is not None:
            self._note(f"table {TABLE}", live, "")
            if not self._module.check_mode:
                self._run(NFT, "delete", "table", *TABLE.split())
        self.files.remove(RULES)
        units = [self.files.remove(path) for path in (DROPIN, UNIT_FILE)]
        if any(units) and not self._module.check_mode:
            self._run("systemctl", "daemon-reload")


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
            "ssh_port": {"type": "int", "default": rules.SSH_PORT},
            "interface": {"type": "str", "default": ""},
            "container_interfaces": {"type": "list", "elements": "str", "default": list(rules.CONTAINERS)},
            "lock_timeout": {"type": "int", "default": 600},
            **ARGUMENTS,
        },
        supports_check_mode=True,
    )
    connection = current_connection()
    client = connection.client if connection else ""
    firewall = Firewall(module)
    try:
        with Rollback(Node(module), "firewall").alone():
            if module.params["state"] == "present":
                firewall.present(rules.rules_text(read_policy(module.params, client)))
            else:
                firewall.absent()
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    result = {"changed": firewall.files.changed, "loaded": firewall.loaded, "controller": client}
    if firewall.confirm:
        result["confirm"] = firewall.confirm
    module.exit_json(diff=firewall.files.diff, **result)


if __name__ == "__main__":
    main()
