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
    effect for
    O(user) are compared with the wanted ones, all before sshd is reloaded. On any failure the former file is back.
  - Refuses to work where O(user) has no authorized key that sshd would accept, because that user would be locked out.
version_added: 0.1.0
options:
  user:
    description: The user that Ansible logs in as; must stay able to.
    type: str
    required: true
  settings:
    description:
      - Keywords of C(sshd_config) and their values, on top of the module's own policy. A list gives one line an
        element, null takes a keyword of
        the policy out.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Checks user, keywords and values, says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the drop-in before and after.
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
      AllowGroups: operators
      MaxAuthTries: 3
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
"""

import pwd
import re
import stat
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils._connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils._files import TextFiles, card_trouble, read_text

DROPIN = "/etc/ssh/sshd_config.d/00-picluster.conf"
# Lies in /run, so that it is gone after a reboot, as is the sshd that had not read the file yet.
PENDING = "/run/picluster-sshd-reload"
SSHD = "/usr/sbin/sshd"

# What dev-sec's ssh-baseline and Lynis agree on for access (no crypto: that depends on the release). UsePAM stays
# on: without it
# a user whose password is locked, as on a stock card, is refused even with the right key
# (dev-sec/ansible-ssh-hardening#115).
POLICY: dict[str, str] = {
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "PermitEmptyPasswords": "no",
    "PermitRootLogin": "no",
    "PubkeyAuthentication": "yes",
    "AuthenticationMethods": "publickey",
    "HostbasedAuthentication": "no",
    "IgnoreRhosts": "yes",
    "StrictModes": "yes",
    "UsePAM": "yes",
    "PermitUserEnvironment": "no",
    "X11Forwarding": "no",
}

HEADER = "# Written by picluster (role ssh). In sshd the first value wins: this file sorts before all others.\n"
KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
# Key types of sshd(8), AUTHORIZED_KEYS FILE FORMAT; options may stand before them.
KEY_TYPE = re.compile(r"(^|\s)((sk-)?(ssh|ecdsa)-[a-z0-9@.-]+)\s+[A-Za-z0-9+/]{30,}")


def merged_policy(settings: dict[str, Any]) -> dict[str, list[str]]:
    """Return keyword to values: the policy with `settings` on top.

    Raises:
        ValueError: a keyword or a value that cannot stand on one line of sshd_config.
    """
    merged = {keyword: [value] for keyword, value in POLICY.items()}
    known = {keyword.lower(): keyword for keyword in POLICY}
    for keyword, value in settings.items():
        if not KEYWORD.fullmatch(str(keyword)) or str(keyword).lower() in {"match", "include"}:
            raise ValueError(
                f"ssh_settings has the keyword {keyword!r}, wanted is a keyword of sshd_config(5) other than "
                "Match and Include"
            )
        name = known.get(str(keyword).lower(), str(keyword))
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = [_word(name, element) for element in (value if isinstance(value, list) else [value])]
    return merged


def _word(keyword: str, value: object) -> str:
    # YAML reads a bare yes or no as a truth value, which is not how sshd spells it.
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list)) or not str(value).strip() or "\n" in str(value):
        raise ValueError(
            f"ssh_settings gives {keyword} the value {value!r}, wanted is what stands after it on its line of "
            "sshd_config(5)"
        )
    return str(value).strip()


def render(policy: dict[str, list[str]]) -> str:
    """Return the drop-in's text."""
    return HEADER + "".join(f"{keyword} {value}\n" for keyword, values in policy.items() for value in values)


def parse_effective(output: str) -> dict[str, list[str]]:
    """Return lower-case keyword to values from what `sshd -T` prints."""
    effective: dict[str, list[str]] = {}
    for line in output.splitlines():
        keyword, _, value = line.partition(" ")
        effective.setdefault(keyword.lower(), []).append(value.strip())
    return effective


def overruled(
    policy: dict[str, list[str]], wanted: dict[str, list[str]], effective: dict[str, list[str]]
) -> str | None:
    """Return one sentence if a keyword of the policy is not in effect, else None.

    Args:
        policy: the keywords in question.
        wanted: what sshd makes of the drop-in alone, so that both sides are spelt the same way.
        effective: what sshd makes of all its files for the user.
    """
    for keyword in policy:
        name = keyword.lower()
        # Keywords that gather values (AcceptEnv, HostKey) show other files' values after ours.
        if wanted.get(name) != effective.get(name, [])[: len(wanted.get(name, []))]:
            return (
                f"sshd would use {keyword} {' '.join(effective.get(name, ['(nothing)']))} instead of "
                f"{' '.join(wanted.get(name, ['(nothing)']))}: a setting in /etc/ssh/sshd_config before its "
                "Include line, a file in "
                "/etc/ssh/sshd_config.d that sorts before 00-picluster.conf, a Match block or a missing "
                "Include line overrules it; take that out"
            )
    return None


def usable_keys(text: str) -> int:
    """Return how many lines of an authorized_keys file hold a key."""
    return sum(1 for line in text.splitlines() if not line.lstrip().startswith("#") and KEY_TYPE.search(line))


def key_files(patterns: list[str], user: str, home: str) -> list[str]:
    """Return the absolute paths that AuthorizedKeysFile's patterns mean for a user (sshd_config(5), TOKENS)."""
    paths = []
    for pattern in (p for entry in patterns for p in entry.split() if p != "none"):
        path = pattern.replace("%%", "\0").replace("%h", home).replace("%u", user).replace("\0", "%")
        paths.append(path if path.startswith("/") else f"{home}/{path}")
    return paths


def _too_open(path: Path, home: Path, uid: int) -> bool:
    """Whether StrictModes makes sshd ignore a key file: others own or may write it or a directory up to the home."""
    for part in [path, *path.parents]:
        entry = part.stat()
        if entry.st_uid not in {0, uid} or entry.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return True
        if part == home:
            break
    return False


class Sshd:
    """The node's sshd: its files, its own opinion of them, and the running daemon."""

    def __init__(self, module: AnsibleModule, user: str) -> None:
        self._module = module
        self._user = user
        self._own: set[str] = set()
        self.files = TextFiles(module)
        if not Path(SSHD).exists():
            module.fail_json(msg=f"there is no {SSHD} on this node: install openssh-server")
        # sshd -T wants it even where no sshd runs at the moment (socket activation); it lies in /run and sshd makes
        # it too.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    def ask(self, *arguments: str) -> dict[str, list[str]]:
        """Return the values that sshd would use for the user; raise ValueError with sshd's own words if it refuses."""
        connection = current_connection()
        address = connection.client if connection else "127.0.0.1"
        criteria = f"user={self._user},host={address},addr={address}"
        rc, out, err = self._module.run_command([SSHD, "-T", "-C", criteria, *arguments])
        if rc != 0:
            raise ValueError(" ".join((err or out).split()))
        return parse_effective(out)

    def ask_alone(self, text: str) -> dict[str, list[str]]:
        """Return what sshd makes of `text` as its whole configuration."""
        with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="utf-8") as candidate:
            candidate.write(text)
            candidate.flush()
            try:
                return self.ask("-f", candidate.name)
            except ValueError as error:
                words = str(error).replace(candidate.name, Path(DROPIN).name)
                raise ValueError(f"sshd does not accept the policy with ssh_settings: {words}") from error

    def lock_out(self, wanted: dict[str, list[str]]) -> str | None:
        """Return one sentence if the policy would lock the user out, else None."""
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
        try:
            effective = self.ask()
        except ValueError:
            # A drop-in that a killed run left behind can be what is wrong now, and is about to be replaced.
            effective = wanted
        if effective.get("authorizedkeyscommand", ["none"]) != ["none"] or effective.get(
            "trustedusercakeys", ["none"]
        ) != ["none"]:
            return None
        home = Path(account.pw_dir)
        patterns = (
            wanted["authorizedkeysfile"]
            if "authorizedkeysfile" in self._own
            else effective.get("authorizedkeysfile", [])
        )
        paths = key_files(patterns, user, account.pw_dir)
        for path in paths:
            if usable_keys(read_text(path) or ""):
                if wanted.get("strictmodes") == ["no"] or not _too_open(Path(path), home, account.pw_uid):
                    return None
                return (
                    f"sshd ignores {path}, because it or a directory above it is writable or owned by others: "
                    f"chmod go-w {path} and the directories up to {home}"
                )
        return (
            f"{user} has no authorized key on this node ({' '.join(paths) or 'no AuthorizedKeysFile'}), so "
            "that keys only would lock it out: "
            f"put the public key there first, for example with ssh-copy-id"
        )

    def converge(self, policy: dict[str, list[str]]) -> dict[str, Any]:
        """Bring drop-in and running sshd to the policy; return the module's result."""
        self._own = {keyword.lower() for keyword in policy}
        text = render(policy)
        wanted = self.ask_alone(text)
        problem = self.lock_out(wanted)
        if problem:
            raise ValueError(problem)
        before = read_text(DROPIN)
        if self._module.check_mode:
            changed = self.files.put(DROPIN, text, 0o644)
            return {"changed": changed or Path(PENDING).exists(), "reloaded": False}
        if before != text:
            # A run that is killed between here and the reload leaves this behind, and the next run reloads.
            Path(PENDING).touch()
        try:
            self.files.put(DROPIN, text, 0o644)
            effective = self._in_effect(policy, wanted)
            reloaded = self._reload()
        except (ValueError, OSError) as error:
            problem = card_trouble(error) if isinstance(error, OSError) else str(error)
            try:
                self._restore(before, text)
            except OSError as second:
                raise ValueError(
                    f"{problem}; {DROPIN} could not be put back either ({card_trouble(second)}): "
                    "see to it before sshd is restarted"
                ) from error
            raise ValueError(problem) from error
        return {
            "changed": bool(self.files.diff) or reloaded,
            "reloaded": reloaded,
            "effective": {name: effective[name] for name in sorted(self._own) if name in effective},
        }

    def _in_effect(self, policy: dict[str, list[str]], wanted: dict[str, list[str]]) -> dict[str, list[str]]:
        """Return what sshd would use with the drop-in in place; raise ValueError if that is not the policy."""
        try:
            effective = self.ask()
        except ValueError as error:
            raise ValueError(
                f"sshd does not accept its configuration with {Path(DROPIN).name} in it: {error}"
            ) from error
        problem = overruled(policy, wanted, effective)
        if problem:
            raise ValueError(problem)
        return effective

    def _reload(self) -> bool:
        """Reload sshd if it has not read the drop-in as it is now."""
        if not Path(PENDING).exists():
            return False
        # A unit that does not run (socket activation) reads the file when it starts. ssh.service's ExecReload is
        # `sshd -t` and HUP.
        rc, out, err = self._module.run_command(["systemctl", "try-reload-or-restart", "ssh.service"])
        if rc != 0:
            raise ValueError(f"systemctl reload ssh.service failed: {' '.join((err or out).split())}")
        Path(PENDING).unlink()
        return True

    def _restore(self, before: str | None, text: str) -> None:
        """Put the former drop-in back; nothing was reloaded, so the running sshd never knew the other one."""
        if before == text:
            return
        if before is None:
            self.files.remove(DROPIN)
        else:
            self.files.put(DROPIN, before, 0o644)
        Path(PENDING).unlink(missing_ok=True)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "settings": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    try:
        sshd = Sshd(module, module.params["user"])
        result = sshd.converge(merged_policy(module.params["settings"]))
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=card_trouble(error))
    module.exit_json(diff=sshd.files.diff, **result)


if __name__ == "__main__":
    main()
