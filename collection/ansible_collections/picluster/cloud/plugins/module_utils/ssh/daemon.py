# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The node's sshd: how it reads its files, whom they would lock out, its host keys, and the running daemon."""

from __future__ import annotations

import dataclasses
import glob
import pwd
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import Connection
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import sync
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.operators import (
    Operator,
    check_own_user,
    parse_keys,
    refusal,
)
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.origin import CONFIG, deciding_line, read_lines
from ansible_collections.picluster.cloud.plugins.module_utils.ssh.policy import (
    ED25519_KEY,
    LET_IN,
    RSA_KEY,
    Release,
    accepted_algorithms,
    check_in_effect,
    parse_effective,
    parse_version,
    render,
    spellings,
    unknown_keywords,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node, Outcome

DROPIN = "/etc/ssh/sshd_config.d/00-picluster.conf"
SSHD = "/usr/sbin/sshd"
# A unit that is not running (socket activation) reads the file when it starts. ssh.service's ExecReload is `sshd -t`
# and HUP, so an invalid configuration leaves the old daemon running.
RELOAD = ["systemctl", "try-reload-or-restart", "ssh.service"]
_KEY_TYPES = {ED25519_KEY: ["-t", "ed25519"], RSA_KEY: ["-t", "rsa", "-b", "4096"]}


def key_files(patterns: list[str], user: str, home: str) -> list[str]:
    """Return the absolute paths of a user's AuthorizedKeysFile patterns (sshd_config(5), TOKENS)."""
    paths = []
    for pattern in (p for entry in patterns for p in entry.split() if p != "none"):
        path = pattern.replace("%%", "\0").replace("%h", home).replace("%u", user).replace("\0", "%")
        paths.append(path if path.startswith("/") else f"{home}/{path}")
    return paths


def too_open(path: Path, home: Path, uid: int) -> bool:
    """Return whether StrictModes makes sshd ignore a key file: others own or may write it or a directory up to home."""
    for part in [path, *path.parents]:
        if part.exists():
            entry = part.stat()
            if entry.st_uid not in {0, uid} or entry.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return True
        if part == home:
            break
    return False


@dataclasses.dataclass(frozen=True)
class Judged:
    """A policy as this release of sshd supports it.

    Attributes:
        policy: The keywords that it knows.
        desired: How sshd reads the policy as its whole configuration.
        left_out: The keywords that it does not know, in lower case.
    """

    policy: dict[str, list[str]]
    desired: dict[str, list[str]]
    left_out: list[str]


class Sshd:
    """The node's sshd, as the user that Ansible logs in as meets it."""

    def __init__(self, node: Node, user: str, connection: Connection | None) -> None:
        """Prepare sshd's own tests; raise UserError if there is no sshd."""
        self._node = node
        self._user = user
        self._connection = connection or Connection("127.0.0.1", "127.0.0.1")
        if not node.path(SSHD).exists():
            raise UserError(f"{SSHD} does not exist on this node; install openssh-server")
        # sshd -T needs it even where no sshd runs at the moment (socket activation). In check mode too: it is in /run,
        # and sshd creates it itself.
        node.path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)

    def release(self) -> Release:
        """Return the capabilities of this OpenSSH; raise UserError if it is not OpenSSH."""
        version, exchanges = self._node.run("ssh", "-V"), self._node.query("ssh", "-Q", "kex")
        return Release(parse_version(version.err or version.out), frozenset(exchanges.split()))

    def judge(self, policy: dict[str, list[str]], settings: Mapping[str, Any]) -> Judged:
        """Have sshd read a policy as its whole configuration; optional keywords that it does not know are left out.

        The user's own `settings` are never left out. Raises UserError with sshd's words if it rejects the policy.
        """
        outcome = self._test_alone(policy)
        unknown = set() if outcome.ok else unknown_keywords(outcome.reason, settings)
        if unknown:
            policy = {keyword: values for keyword, values in policy.items() if keyword.lower() not in unknown}
            outcome = self._test_alone(policy)
        if not outcome.ok:
            raise UserError(f"settings are not accepted by sshd: {outcome.reason}; correct or remove the keyword")
        desired = parse_effective(outcome.out) | ({"hostkey": policy["HostKey"]} if "HostKey" in policy else {})
        return Judged(policy, desired, sorted(unknown))

    def in_effect(self, judged: Judged) -> dict[str, list[str]]:
        """Return the policy's values that sshd would use with its files; raise UserError if they differ from it."""
        outcome = self._test()
        if not outcome.ok:
            name = Path(DROPIN).name
            raise UserError(f"sshd rejects its configuration with {name}: {outcome.reason}; correct the file it names")
        effective = parse_effective(outcome.out)
        check_in_effect(judged.policy, judged.desired, effective, self._cause)
        return {name: effective[name] for name in map(str.lower, judged.policy) if name in effective}

    def _cause(self, keyword: str) -> str:
        """Return which line of sshd's files overrules a keyword of the drop-in, and what to do."""
        names = spellings(keyword)
        lines = list(read_lines(self._node.files.read, self._expand))
        if not any(line.path == DROPIN for line in lines):
            return f"{CONFIG} does not include {DROPIN}; add as its first line: Include {Path(DROPIN).parent}/*.conf"
        # Keywords that collect values are changed by any other line.
        collects = not names.isdisjoint(LET_IN)
        own = [line for line in lines if line.keyword in names and not (collects and line.path == DROPIN)]
        line = deciding_line(own, self._matches)
        if line is None or line.path == DROPIN:
            return f"no line of {CONFIG} or the files that it includes explains it; check `sshd -T`"
        where = f" in the block Match {line.match[-1]}" if line.match else "" if collects else " first"
        return f"{line} sets {keyword} {line.value}{where}; remove that line"

    def _expand(self, pattern: str) -> list[str]:
        """Return the files that a pattern of Include names, in sshd's order."""
        root = self._node.path("/")
        # Like sshd, and unlike Path.glob, without hidden files.
        found = sorted(glob.glob(str(self._node.path(pattern))))  # noqa: PTH207
        return [f"/{Path(name).relative_to(root)}" for name in found]

    def _matches(self, criteria: str) -> bool:
        """Return whether sshd applies a Match block to the user's logins."""
        outcome = self._test_text(f"PermitTTY yes\nMatch {criteria}\nPermitTTY no\n")
        return parse_effective(outcome.out).get("permittty") == ["no"]

    def create_host_keys(self, policy: Mapping[str, list[str]]) -> None:
        """Create the host keys that are missing; raise UserError if ssh-keygen failed."""
        for key in policy.get("HostKey", []):
            if key not in _KEY_TYPES or self._has_key(key):
                continue
            self._node.note("host keys", "", key)
            if self._node.check_mode:
                continue
            place = self._node.path(key)
            # A kill in between leaves nothing under the key's own name.
            half = place.with_name(f"{place.name}.picluster-new")
            half.unlink(missing_ok=True)
            self._node.change("ssh-keygen", "-q", "-N", "", "-f", str(half), *_KEY_TYPES[key])
            public = half.with_name(f"{half.name}.pub")
            for part in (public, half):
                sync(part)
            public.replace(place.with_name(f"{place.name}.pub"))
            half.replace(place)
            sync(place.parent)

    def check_login(self, judged: Judged, operators: Mapping[str, Operator]) -> None:
        """Raise UserError if the policy would lock out the user; without operators, everybody may log in."""
        user, desired = self._user, judged.desired
        try:
            account = pwd.getpwnam(user)
        except KeyError as error:
            raise UserError(
                f"user {user} does not exist on this node; set user to the user that Ansible logs in as"
            ) from error
        if account.pw_uid == 0 and desired.get("permitrootlogin") == ["no"]:
            raise UserError(
                f"user {user} cannot log in under the policy: PermitRootLogin is no; log in as another user, or set "
                "PermitRootLogin in settings"
            )
        check_own_user(user, operators)
        for operator in operators.values():
            if kinds := _refusal(operator.text, desired):
                raise UserError(
                    f"operators.{operator.name} has only keys that the policy rejects: {kinds}; add an ed25519 key, or "
                    "set PubkeyAcceptedAlgorithms or RequiredRSASize in settings"
                )
        outcome = self._test()
        # A file that is wrong now may be the one that is about to be replaced.
        effective = parse_effective(outcome.out) if outcome.ok else desired
        # Keys from elsewhere are for the new login to prove.
        if any(effective.get(name, ["none"]) != ["none"] for name in ("authorizedkeyscommand", "trustedusercakeys")):
            return
        own = any(keyword.lower() == "authorizedkeysfile" for keyword in judged.policy)
        paths = key_files((desired if own else effective).get("authorizedkeysfile", []), user, account.pw_dir)
        texts = {path: self._node.files.read(path) or "" for path in paths}
        written = f"{account.pw_dir}/.ssh/authorized_keys"
        if operators and written in texts:
            texts[written] = operators[user].text
        self._check_keys(texts, account, desired)

    def _check_keys(
        self, texts: Mapping[str, str], account: pwd.struct_passwd, desired: Mapping[str, list[str]]
    ) -> None:
        """Raise UserError if none of the key files admits the user."""
        problem = (
            f"user {self._user} has no authorized key on this node ({' '.join(texts) or 'no AuthorizedKeysFile'}) and "
            "would be locked out; add its public key first, for example with ssh-copy-id"
        )
        home = self._node.path(account.pw_dir)
        for path, text in texts.items():
            if not parse_keys(text):
                continue
            if kinds := _refusal(text, desired):
                problem = (
                    f"user {self._user} has only keys in {path} that the policy rejects: {kinds}; add an ed25519 key "
                    "there, or set PubkeyAcceptedAlgorithms or RequiredRSASize in settings"
                )
            elif desired.get("strictmodes") != ["no"] and too_open(self._node.path(path), home, account.pw_uid):
                problem = (
                    f"sshd ignores {path}: other users own or may write it or a directory above it; fix owner and mode "
                    f"(chmod go-w) of it and the directories up to {account.pw_dir}"
                )
            else:
                return
        raise UserError(problem)

    def _test(self, *arguments: str) -> Outcome:
        """Have sshd print the values that it would use for the user."""
        on, user = self._connection, self._user
        # All criteria: sshd rejects a Match block on one that is not given.
        criteria = f"user={user},host={on.client},addr={on.client},laddr={on.server},lport={on.port},rdomain="
        return self._node.run(SSHD, "-T", "-C", criteria, *arguments)

    def _test_alone(self, policy: Mapping[str, list[str]]) -> Outcome:
        # A host key that is still to be created would be missed here, and only here.
        present = {**policy, "HostKey": [key for key in policy.get("HostKey", []) if self._has_key(key)]}
        return self._test_text(render(present))

    def _test_text(self, text: str) -> Outcome:
        """Have sshd read a text as its whole configuration."""
        with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="utf-8") as candidate:
            candidate.write(text)
            candidate.flush()
            outcome = self._test("-f", candidate.name)
            return dataclasses.replace(outcome, err=outcome.err.replace(candidate.name, Path(DROPIN).name))

    def _has_key(self, key: str) -> bool:
        """Return whether a host key exists; a power cut before it was on the card leaves an empty file."""
        place = self._node.path(key)
        return place.exists() and place.stat().st_size > 0


def _refusal(text: str, desired: Mapping[str, list[str]]) -> str | None:
    """Return which kinds of keys a key file has, if the policy rejects all of them."""
    smallest = int(desired.get("requiredrsasize", ["0"])[0])
    return refusal(parse_keys(text), accepted_algorithms(desired), smallest)
