# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The node's sshd: its own opinion of its files, whom they would let in, its host keys, and the running daemon."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import current_connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import Operator, parse_keys, refusal
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import (
    ED25519_KEY,
    RSA_KEY,
    Release,
    accepted_algorithms,
    overruled,
    parse_effective,
    parse_version,
    render,
    unknown_keywords,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible.module_utils.basic import AnsibleModule

DROPIN = "/etc/ssh/sshd_config.d/00-picluster.conf"
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


def _smallest_rsa(wanted: Mapping[str, list[str]]) -> int:
    return int(wanted.get("requiredrsasize", ["0"])[0])


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


def _there(key: Path) -> bool:
    """Whether there is a host key; of one that a power cut met before it was on the card only the name is left."""
    return key.exists() and key.stat().st_size > 0


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
        own, port = (connection.server, connection.port) if connection else ("127.0.0.1", "22")
        # All of them: sshd refuses to judge a Match block by what it is not told.
        criteria = f"user={self._user},host={address},addr={address},laddr={own},lport={port},rdomain="
        return parse_effective(self._run(SSHD, "-T", "-C", criteria, *arguments))

    def ask_alone(self, policy: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """Return what sshd makes of the policy as its whole configuration; raise ValueError with its own words."""
        # A host key that is still to be made would be missed here, and only here.
        there = {**policy, "HostKey": [key for key in policy.get("HostKey", []) if _there(Path(key))]}
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
        missing = [key for key in policy.get("HostKey", []) if key in _MAKE_KEY and not _there(Path(key))]
        if not self._module.check_mode:
            for key in missing:
                # Killed in between, it leaves nothing under the key's own name.
                half = Path(f"{key}.picluster-new")
                half.unlink(missing_ok=True)
                self._run("ssh-keygen", "-q", "-N", "", "-f", str(half), *_MAKE_KEY[key])
                for part in (Path(f"{half}.pub"), half):
                    _sync(part)
                Path(f"{half}.pub").replace(f"{key}.pub")
                half.replace(key)
                _sync(half.parent)
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
        for operator in operators.values():
            kinds = refusal(parse_keys(operator.text), accepted_algorithms(wanted), _smallest_rsa(wanted))
            if kinds:
                return (
                    f"ssh_operators gives {operator.name} only keys that the policy refuses ({kinds}): add an ed25519 "
                    "key, or set PubkeyAcceptedAlgorithms or RequiredRSASize in ssh_settings"
                )
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
        written = f"{account.pw_dir}/.ssh/authorized_keys"
        if operators and written in texts:
            texts[written] = operators[user].text
        return self._useless(texts, Path(account.pw_dir), account.pw_uid, wanted)

    def _useless(self, texts: Mapping[str, str], home: Path, uid: int, wanted: Mapping[str, list[str]]) -> str | None:
        """Return one sentence if none of the key files lets the user in."""
        problem = None
        for path, text in texts.items():
            keys = parse_keys(text)
            if not keys:
                continue
            kinds = refusal(keys, accepted_algorithms(wanted), _smallest_rsa(wanted))
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
