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
author: The picluster authors
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

import pwd
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils._accounts import Accounts, File, make_key_folder
from ansible_collections.picluster.cloud.plugins.module_utils._connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils._files import TextFiles, card_trouble, read_text
from ansible_collections.picluster.cloud.plugins.module_utils._operators import (
    GROUP,
    Operator,
    parse_keys,
    parse_operators,
    refusal,
)
from ansible_collections.picluster.cloud.plugins.module_utils._rollback import ARGUMENTS, Rollback, check_window
from ansible_collections.picluster.cloud.plugins.module_utils._sshd import (
    ED25519_KEY,
    EXEMPT,
    PROFILES,
    RSA_KEY,
    Release,
    crypto,
    exempt_sources,
    merged_policy,
    overruled,
    parse_effective,
    parse_version,
    render,
    strong_moduli,
    unknown_keywords,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

DROPIN = "/etc/ssh/sshd_config.d/00-picluster.conf"
MODULI = "/etc/ssh/moduli"
SSHD = "/usr/sbin/sshd"
# A unit that does not run (socket activation) reads the file when it starts. ssh.service's ExecReload is `sshd -t` and
# HUP, so that a configuration that is wrong leaves the old daemon running.
RELOAD = ["systemctl", "try-reload-or-restart", "ssh.service"]
_MAKE_KEY = {ED25519_KEY: ["-t", "ed25519"], RSA_KEY: ["-t", "rsa", "-b", "4096"]}


def key_files(patterns: list[str], user: str, home: str) -> list[str]:
    """Return the absolute paths that AuthorizedKeysFile's patterns mean for a user (sshd_config(5), TOKENS)."""
    paths = []
    for pattern in (p for entry in patterns for p in entry.split() if p != "none"):
        path = pattern.replace("%%", "\0").replace("%h", home).replace("%u", user).replace("\0", "%")
        paths.append(path if path.startswith("/") else f"{home}/{path}")
    return paths


def too_open(path: Path, home: Path, uid: int) -> bool:
    """Whether StrictModes makes sshd ignore a key file: others own or may write it or a directory up to the home."""
    for part in [path, *path.parents]:
        if part.exists():
            entry = part.stat()
            if entry.st_uid not in {0, uid} or entry.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return True
        if part == home:
            break
    return False


class Sshd:
    """The node's sshd: its own opinion of its files, and the running daemon."""

    def __init__(self, module: AnsibleModule, user: str) -> None:
        self._module = module
        self._user = user
        if not Path(SSHD).exists():
            raise ValueError(f"there is no {SSHD} on this node: install openssh-server")
        # sshd -T wants it even where no sshd runs at the moment (socket activation); it lies in /run and sshd makes
        # it too.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    def _run(self, *command: str) -> str:
        rc, out, err = self._module.run_command(list(command))
        if rc != 0:
            raise ValueError(" ".join((err or out).split()))
        return str(out or err)

    def release(self) -> Release:
        """Return what this OpenSSH can do."""
        return Release(parse_version(self._run("ssh", "-V")), frozenset(self._run("ssh", "-Q", "kex").split()))

    def ask(self, *arguments: str) -> dict[str, list[str]]:
        """Return the values that sshd would use for the user; raise ValueError with sshd's own words if it refuses."""
        connection = current_connection()
        address = connection.client if connection else "127.0.0.1"
        criteria = f"user={self._user},host={address},addr={address}"
        return parse_effective(self._run(SSHD, "-T", "-C", criteria, *arguments))

    def ask_alone(self, policy: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """Return what sshd makes of the policy as its whole configuration; raise ValueError with its own words."""
        # A host key that is still to be made would be missed here, and only here.
        there = {**policy, "HostKey": [key for key in policy.get("HostKey", []) if Path(key).exists()]}
        with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="utf-8") as candidate:
            candidate.write(render(there))
            candidate.flush()
            try:
                found = self.ask("-f", candidate.name)
            except ValueError as error:
                words = str(error).replace(candidate.name, Path(DROPIN).name)
                raise ValueError(f"sshd does not accept the policy with ssh_settings: {words}") from error
        return found | ({"hostkey": policy["HostKey"]} if "HostKey" in policy else {})

    def known(
        self, policy: dict[str, list[str]], settings: Mapping[str, Any]
    ) -> tuple[dict[str, list[str]], dict[str, list[str]], list[str]]:
        """Return the policy without what this release need not know, what sshd makes of it, and what was left out."""
        try:
            return policy, self.ask_alone(policy), []
        except ValueError as error:
            unknown = unknown_keywords(str(error), settings)
            if not unknown:
                raise
        known = {keyword: values for keyword, values in policy.items() if keyword.lower() not in unknown}
        return known, self.ask_alone(known), sorted(unknown)

    def in_effect(self, policy: Mapping[str, list[str]], wanted: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """Return what sshd would use with the files as they are; raise ValueError if that is not the policy."""
        try:
            effective = self.ask()
        except ValueError as error:
            raise ValueError(
                f"sshd does not accept its configuration with {Path(DROPIN).name} in it: {error}"
            ) from error
        problem = overruled(policy, wanted, effective)
        if problem:
            raise ValueError(problem)
        return {keyword.lower(): effective[keyword.lower()] for keyword in policy if keyword.lower() in effective}

    def reload(self) -> None:
        """Have the running sshd read its files."""
        try:
            self._run(*RELOAD)
        except ValueError as error:
            raise ValueError(f"systemctl reload ssh.service failed: {error}") from error

    def make_host_keys(self, policy: Mapping[str, list[str]]) -> list[str]:
        """Make the host keys that are missing, or in check mode only name them."""
        missing = [key for key in policy.get("HostKey", []) if key in _MAKE_KEY and not Path(key).exists()]
        if not self._module.check_mode:
            for key in missing:
                # Killed in between, it leaves nothing under the key's own name.
                half = Path(f"{key}.picluster-new")
                half.unlink(missing_ok=True)
                self._run("ssh-keygen", "-q", "-N", "", "-f", str(half), *_MAKE_KEY[key])
                Path(f"{half}.pub").replace(f"{key}.pub")
                half.replace(key)
        return missing

    def lock_out(self, wanted: Mapping[str, list[str]], operators: Mapping[str, Operator], own: set[str]) -> str | None:
        """Return one sentence if the policy would lock the user out, else None.

        Args:
            wanted: what sshd makes of the policy alone.
            operators: who may log in, empty for all who can.
            own: the policy's keywords in lower case.
        """
        user = self._user
        try:
            account = pwd.getpwnam(user)
        except KeyError:
            return (
                f"there is no user {user} on this node, so that nobody could log in as it: set ansible_user to a "
                "user that exists"
            )
        if account.pw_uid == 0 and wanted.get("permitrootlogin") == ["no"]:
            return (
                f"Ansible logs in as {user}, which the policy forbids: set ansible_user to another user, or "
                "PermitRootLogin in ssh_settings"
            )
        if operators and user not in operators:
            return f"Ansible logs in as {user}, which is not among ssh_operators: add it there with its keys"
        try:
            effective = self.ask()
        except ValueError:
            # A file that is wrong now can be the one that is about to be replaced.
            effective = dict(wanted)
        if effective.get("authorizedkeyscommand", ["none"]) != ["none"] or effective.get(
            "trustedusercakeys", ["none"]
        ) != ["none"]:
            return None
        patterns = (wanted if "authorizedkeysfile" in own else effective).get("authorizedkeysfile", [])
        paths = key_files(patterns, user, account.pw_dir)
        texts = {path: read_text(path) or "" for path in paths}
        if operators:
            texts[f"{account.pw_dir}/.ssh/authorized_keys"] = operators[user].text
        return self._useless(texts, Path(account.pw_dir), account.pw_uid, wanted)

    def _useless(self, texts: Mapping[str, str], home: Path, uid: int, wanted: Mapping[str, list[str]]) -> str | None:
        """Return one sentence if none of the key files lets the user in."""
        problem = None
        for path, text in texts.items():
            keys = parse_keys(text)
            if not keys:
                continue
            algorithms = wanted.get("pubkeyacceptedalgorithms", [""])[0]
            smallest = int(wanted.get("requiredrsasize", ["0"])[0])
            kinds = refusal(keys, algorithms, smallest)
            if kinds:
                problem = (
                    f"{self._user} has only keys in {path} that the policy refuses ({kinds}): add an ed25519 key "
                    "there, or set PubkeyAcceptedAlgorithms or RequiredRSASize in ssh_settings"
                )
            elif wanted.get("strictmodes") != ["no"] and too_open(Path(path), home, uid):
                problem = (
                    f"sshd ignores {path}, because it or a directory above it is writable or owned by others: "
                    f"chmod go-w {path} and the directories up to {home}"
                )
            else:
                return None
        return problem or (
            f"{self._user} has no authorized key on this node ({' '.join(texts) or 'no AuthorizedKeysFile'}), so "
            "that keys only would lock it out: put the public key there first, for example with ssh-copy-id"
        )


class Node:
    """Brings files, accounts and running sshd to the policy, or leaves all as it was."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._options = module.params
        self._operators = parse_operators(self._options["operators"])
        self._sshd = Sshd(module, self._options["user"])
        self._accounts = Accounts(module.run_command, self._operators)
        self._rollback = Rollback(module.run_command, "sshd")
        # What would be written, and the difference that makes; the writing itself comes after the arming.
        self.planned = TextFiles(SimpleNamespace(check_mode=True))

    def policy(self) -> dict[str, list[str]]:
        """Return the whole policy; raise ValueError for settings that cannot be."""
        options = self._options
        connection = current_connection()
        sources = exempt_sources(connection.client if connection else None, options["exempt"])
        policy = crypto(options["profile"], self._sshd.release()) | ({EXEMPT: sources} if sources else {})
        if self._operators:
            policy |= {"AllowGroups": [GROUP], "AuthorizedKeysFile": [".ssh/authorized_keys"]}
        return merged_policy(options["settings"], policy)

    def converge(self) -> dict[str, Any]:
        """Bring the node to the policy; return the module's result."""
        check_window(self._options["confirm_within"])
        policy, wanted, left_out = self._sshd.known(self.policy(), self._options["settings"])
        problem = self._sshd.lock_out(wanted, self._operators, {keyword.lower() for keyword in policy})
        if problem:
            raise ValueError(problem)
        new = self._accounts.missing()
        if not self._module.check_mode:
            self._accounts.create()
        stale = [file for file in self._files(policy) if self._plan(file)]
        new_keys = self._sshd.make_host_keys(policy)
        self._note("accounts", [], new)
        self._note("host keys", [], new_keys)
        if self._operators:
            self._note(f"members of {GROUP}", self._accounts.members() or [], sorted(self._operators))
        # Armed: a run was killed before its change was proven, so this one proves it.
        changed = bool(self.planned.diff) or self._rollback.state() is not None
        result: dict[str, Any] = {"changed": changed, "reloaded": False, "left_out": left_out}
        if not changed:
            return result | {"effective": self._sshd.in_effect(policy, wanted)}
        if self._module.check_mode:
            return result
        confirm = self._arm(stale)
        effective = self._change(stale, policy, wanted)
        return result | {"reloaded": True, "effective": effective, "confirm": confirm}

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

    def _arm(self, stale: list[File]) -> dict[str, Any]:
        members = self._accounts.members()
        admission = [self._accounts.admission(members)] if self._operators and members is not None else []
        return self._rollback.arm(
            self._options["confirm_within"],
            self._options["confirm_token"],
            [file.path for file in stale],
            [*admission, RELOAD],
            at_boot=admission,
        )

    def _change(
        self, stale: list[File], policy: Mapping[str, list[str]], wanted: Mapping[str, list[str]]
    ) -> dict[str, list[str]]:
        """Do it; go back at once if it does not come out as wanted."""
        files = TextFiles(self._module)
        try:
            self._accounts.admit()
            for file in stale:
                if file.text is None:
                    files.remove(file.path)
                else:
                    make_key_folder(file)
                    files.put(file.path, file.text, file.mode, owner=file.owner)
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
        result = node.converge()
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    module.exit_json(diff=node.planned.diff, **result)


if __name__ == "__main__":
    main()
