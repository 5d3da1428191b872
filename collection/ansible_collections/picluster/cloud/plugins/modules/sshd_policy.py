#!/usr/bin/python
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Make keys the only way into a node, and prove that sshd means it before it is told."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sshd_policy
short_description: Who may log in by ssh, and how
description:
  - Keeps C(/etc/ssh/sshd_config.d/00-picluster.conf). In sshd the first value wins, so that a drop-in must sort before
    C(50-cloud-init.conf), which may allow passwords.
  - The policy is checked alone, then merged with everything else that sshd reads, and the values that would be in
    effect for O(user) are compared with the wanted ones, all before sshd is reloaded. On any failure everything is as
    it was before.
  - Refuses to work where O(user) has no authorized key that sshd would accept, because that user would be locked out.
  - A change stays only if the controller can log in afresh after it (action plugin of the same name).
version_added: 0.1.0
extends_documentation_fragment: [picluster.cloud.confirmed]
options:
  user:
    description: The user that Ansible logs in as; must stay able to.
    type: str
    required: true
  profile:
    description:
      - V(pq) offers only key exchanges that withstand a quantum computer; clients need OpenSSH 9.0 or newer.
      - V(policy) offers what ssh-audit's built-in policy for the release wants, on OpenSSH 9 also older key exchanges
        and an RSA host key of 4096 bits.
    type: str
    choices: [pq, policy]
    default: pq
  settings:
    description:
      - Keywords of C(sshd_config) and their values, on top of the module's own policy. A list gives one line an
        element, null takes a keyword of the policy out.
    type: dict
    default: {}
  exempt:
    description:
      - Addresses and networks that sshd never shuts out for failed logins (OpenSSH 9.8 and newer), beside the
        controller's own address.
    type: list
    elements: str
    default: []
  operators:
    description:
      - Who may log in, by user name a mapping of C(keys), a list of public keys, and C(sudo), whether to become root
        without a password.
      - Exclusive. Missing accounts are made, other keys of these users are removed, nobody else is let in; who was
        named before loses keys and sudo, not the account.
      - Empty leaves accounts and keys alone.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Checks user, keys, keywords and values, says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows all files before and after.
  idempotent:
    support: full
    description: A second call changes nothing and reloads nothing.
author: [The picluster authors]
"""

EXAMPLES = r"""
- name: Let only keys in
  picluster.cloud.sshd_policy:
    user: pi
    settings:
      MaxAuthTries: 2
    exempt: [192.168.63.0/24]
    operators:
      pi:
        keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIoB9rJk3u0Nf2c0l0b1tq7s0m4dYfZ2xJQ8m1x5q3aB me@home]
        sudo: true
"""

RETURN = r"""
reloaded:
  description: Whether sshd was told to read its configuration again.
  returned: success
  type: bool
effective:
  description: The policy's keywords and the values that sshd has in effect for the user.
  returned: success, not in check mode on a node that would change
  type: dict
  sample: {passwordauthentication: [no]}
left_out:
  description: Keywords of the policy that this release of sshd does not know, in lower case.
  returned: success
  type: list
  elements: str
  sample: [persourcepenaltyexemptlist]
confirm:
  description: What the action plugin has to confirm; it never reaches the playbook.
  returned: changed
  type: dict
"""

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import ARGUMENTS, Rollback, check_window
from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node as Kit
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles, card_trouble, read_text
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.accounts import (
    SUDOERS,
    Accounts,
    File,
    foreign_folder,
    make_key_folder,
)
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.daemon import DROPIN, RELOAD, Sshd
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import GROUP, parse_operators
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import (
    EXEMPT,
    PROFILES,
    crypto,
    exempt_sources,
    merged_policy,
    render,
    spelt_for,
    strong_moduli,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MODULI = "/etc/ssh/moduli"


class Node:
    """Brings files, accounts and running sshd to the policy, or leaves all as it was."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._options = module.params
        self._operators = parse_operators(self._options["operators"])
        self._sshd = Sshd(module, self._options["user"])
        self._accounts = Accounts(module.run_command, self._operators)
        self._rollback = Rollback(Kit(module), "sshd")
        # What would be written, and the difference that makes; the writing itself comes after the arming.
        self.planned = TextFiles(SimpleNamespace(check_mode=True))

    def policy(self) -> dict[str, list[str]]:
        """Return the whole policy; raise ValueError for settings that cannot be."""
        options = self._options
        connection = current_connection()
        sources = exempt_sources(connection.client if connection else None, options["exempt"])
        release = self._sshd.release()
        policy = crypto(options["profile"], release) | ({EXEMPT: sources} if sources else {})
        if self._operators:
            policy |= {"AllowGroups": [GROUP], "AuthorizedKeysFile": [".ssh/authorized_keys"]}
        return spelt_for(release, merged_policy(options["settings"], policy))

    def converge(self) -> dict[str, Any]:
        """Bring the node to the policy; return the module's result."""
        check_window(self._options["confirm_within"])
        armed = self._finish()
        policy, wanted, left_out = self._sshd.known(self.policy(), self._options["settings"])
        problem = self._sshd.lock_out(wanted, self._operators, {keyword.lower() for keyword in policy})
        if problem:
            raise ValueError(problem)
        new = self._accounts.missing()
        if not self._module.check_mode:
            self._accounts.create()
        files = self._files(policy)
        stale = [file for file in files if self._plan(file)]
        new_keys = self._sshd.make_host_keys(policy)
        self._note("accounts", [], new)
        self._note("host keys", [], new_keys)
        self._note("folders of others", [folder for folder in map(foreign_folder, files) if folder], [])
        if self._operators:
            self._note(f"members of {GROUP}", self._accounts.members() or [], sorted(self._operators))
        # Armed: a run was killed before its change was proven, so this one proves it.
        changed = bool(self.planned.diff) or armed
        result: dict[str, Any] = {"changed": changed, "reloaded": False, "left_out": left_out}
        if not changed:
            return result | {"effective": self._sshd.in_effect(policy, wanted)}
        if self._module.check_mode:
            return result
        confirm = self._arm(stale, again=armed)
        effective = self._change(files, stale, policy, wanted)
        return result | {"reloaded": True, "effective": effective, "confirm": confirm}

    def _finish(self) -> bool:
        """Finish a way back that was cut off; say whether an earlier run's change still waits for a confirmation."""
        found = self._rollback.state()
        if found and found.restoring and not self._module.check_mode:
            # What is to be done is planned after it, not from what was half way back.
            self._rollback.undo()
        return found is not None

    def _files(self, policy: Mapping[str, list[str]]) -> list[File]:
        wanted = [File(DROPIN, render(policy))]
        moduli = read_text(MODULI)
        # Only where a client can ask for them: the file is a conffile of the package.
        if moduli and "group-exchange" in " ".join(policy.get("KexAlgorithms", [])):
            strong = strong_moduli(moduli)
            if strong != moduli and any(not line.startswith("#") for line in strong.splitlines()):
                wanted.append(File(MODULI, strong))
        # The keys before the policy that may shut the others out.
        return [*self._accounts.files(), *wanted]

    def _plan(self, file: File) -> bool:
        """Note what would be done about a file; say whether that is anything."""
        if file.text is None:
            return self.planned.remove(file.path)
        return self.planned.put(file.path, file.text, file.mode, owner=file.owner)

    def _note(self, what: str, before: list[str], after: list[str]) -> None:
        if before != after:
            texts = ["".join(f"{name}\n" for name in names) for names in (before, after)]
            self.planned.diff.append(
                {"before_header": what, "after_header": what, "before": texts[0], "after": texts[1]}
            )

    def _arm(self, stale: list[File], *, again: bool) -> dict[str, Any]:
        members = self._accounts.members()
        # The members of an arming that is kept were noted by it; now they may be those that are to go.
        noted = again or members is None or not self._operators
        admission = [] if noted else [self._accounts.admission(members or [])]
        return self._rollback.arm(
            self._options["confirm_within"],
            self._options["confirm_token"],
            [file.path for file in stale],
            [*admission, RELOAD],
            at_boot=admission,
        )

    def _change(
        self,
        files: list[File],
        stale: list[File],
        policy: Mapping[str, list[str]],
        wanted: Mapping[str, list[str]],
    ) -> dict[str, list[str]]:
        """Do it; go back at once if it does not come out as wanted."""
        try:
            for file in files:
                make_key_folder(file)
            self._write([file for file in stale if file.path not in {DROPIN, MODULI}])
            self._check_sudo(stale)
            # Not before: by its membership a run that comes after a kill knows whose keys and sudo are to go.
            self._accounts.admit()
            self._write([file for file in stale if file.path in {DROPIN, MODULI}])
            effective = self._sshd.in_effect(policy, wanted)
            self._sshd.reload()
        except (ValueError, OSError) as error:
            problem = card_trouble(error) if isinstance(error, OSError) else str(error)
            try:
                self._rollback.undo()
            except (ValueError, OSError) as second:
                raise ValueError(f"{problem}; {second}") from error
            raise ValueError(problem) from error
        return effective

    def _write(self, stale: list[File]) -> None:
        texts = TextFiles(self._module)
        for file in stale:
            if file.text is None:
                texts.remove(file.path)
            else:
                texts.put(file.path, file.text, file.mode, owner=file.owner)

    def _check_sudo(self, stale: list[File]) -> None:
        """Raise ValueError if Ansible, which became root by sudo, could not do so again."""
        user = self._options["user"]
        gone = File(f"{SUDOERS}/picluster-{user}", None, 0o440) in stale
        if gone and os.environ.get("SUDO_USER") == user and self._accounts.loses_sudo(user):
            raise ValueError(
                f"ssh_operators takes sudo from {user}, by which Ansible becomes root: give {user} sudo: true"
            )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "profile": {"type": "str", "choices": list(PROFILES), "default": "pq"},
            "settings": {"type": "dict", "default": {}},
            "exempt": {"type": "list", "elements": "str", "default": []},
            "operators": {"type": "dict", "default": {}},
            **ARGUMENTS,
        },
        supports_check_mode=True,
    )
    try:
        node = Node(module)
        with Rollback(Kit(module), "sshd").alone():
            result = node.converge()
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    module.exit_json(diff=node.planned.diff, **result)


if __name__ == "__main__":
    main()
