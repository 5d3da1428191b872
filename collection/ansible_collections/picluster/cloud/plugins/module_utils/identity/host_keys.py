# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""New host keys for a node that was copied from another: made aside, activated once the controller knows them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text, sync

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import Connection
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

FOLDER = "/etc/ssh"
KEYS = "ssh_host_*_key"
# A key that is complete and not active yet, and one that is being made: sshd reads neither.
NEXT, HALF = ".picluster-next", ".picluster-half"
# A unit that does not run (socket activation) reads its keys when it starts.
RELOAD = ["systemctl", "try-reload-or-restart", "ssh.service"]
PATIENCE = 20  # seconds for sshd to load its new keys; it does so within one
_PAUSE = 0.3
_OPTIONS = {"ssh-ed25519": ["-t", "ed25519"], "ssh-rsa": ["-t", "rsa"], "ecdsa-sha2-nistp256": ["-t", "ecdsa"]}


def plain_key(line: str) -> str:
    """Return type and base64 text of a public key's line, empty if it is not one."""
    return " ".join(line.split()[:2]) if len(line.split()) > 1 else ""


def recipe(name: str, public: str) -> list[str] | None:
    """Return ssh-keygen's options for a key like the public one in a file, or None for a type that is obsolete."""
    made = _OPTIONS.get(public.partition(" ")[0])
    # The one that the role ssh makes, as ssh-audit's policy for OpenSSH 9 requires it.
    return [*made, "-b", "4096"] if made and "4096" in name else made


class HostKeys:
    """The node's host keys.

    Not by way of the node's files: ssh-keygen writes them, and a power cut between any two of the renames below must
    leave a pair that the next call can finish.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._folder = node.path(FOLDER)

    def prepare(self, foreign: Iterable[str]) -> list[str]:
        """Make new keys aside if one of the present ones is another node's; return those that count from then on.

        `foreign` are public keys of other nodes, as type and base64 text. Raises UserError with ssh-keygen's words.
        """
        keys = sorted(self._folder.glob(KEYS))
        copied = set(foreign) & {_public(key) for key in keys}
        # A copy has all of them, but obsolete types are not made anew.
        kinds = [key for key in keys if recipe(key.name, _public(key))] if copied else []
        made = [key for key in kinds if _aside(key).exists()]
        # Made and activated in the same order: where the first is active already, all have been made.
        if not made or made[0] == kinds[0]:
            for key in kinds:
                if key not in made:
                    self._make(key)
        # Of the two files of a key the public one is activated first.
        return [known for key in keys if (known := _public(_aside(key)) or _public(key))]

    def _make(self, key: Path) -> None:
        self._node.note(f"{FOLDER}/{key.name}", _public(key), "a new one")
        if self._node.check_mode:
            return
        half = key.with_name(key.name + HALF)
        half.unlink(missing_ok=True)
        options = recipe(key.name, _public(key)) or []
        self._node.change("ssh-keygen", "-q", "-N", "", "-C", "", "-f", str(half), *options)
        # ssh-keygen does not sync, and a node whose key is empty after a power cut lets nobody in.
        for made in (Path(f"{half}.pub"), half):
            sync(made)
        Path(f"{half}.pub").replace(f"{_aside(key)}.pub")
        half.replace(_aside(key))
        sync(self._folder)

    def activate(self, connection: Connection | None) -> None:
        """Make sshd offer the keys that are aside, or raise UserError if it does not; open sessions stay.

        By `connection`, sshd is queried for what it offers.
        """
        for aside in sorted(self._folder.glob(KEYS + NEXT)):
            key = aside.with_name(aside.name.removesuffix(NEXT))
            beside = Path(f"{aside}.pub")
            if beside.exists():
                beside.replace(f"{key}.pub")
            aside.replace(key)
            sync(self._folder)
        desired = {public for key in self._folder.glob(KEYS) if (public := _public(key))}
        if self._offered(connection) <= desired:
            return
        self._node.change(*RELOAD)
        end = time.monotonic() + PATIENCE
        while not self._offered(connection) <= desired:
            if time.monotonic() > end:
                raise UserError(
                    f"sshd still offers the former host keys: it did not load the new ones within {PATIENCE} s; run: "
                    "systemctl restart ssh"
                )
            time.sleep(_PAUSE)

    def _offered(self, connection: Connection | None) -> set[str]:
        """Return the keys that sshd offers; one that does not answer is counted as offering a wrong one."""
        host, port = (connection.server, connection.port) if connection else ("127.0.0.1", "22")
        lines = self._node.run("ssh-keyscan", "-T", "5", "-p", port, host).out.splitlines()
        return {plain_key(line.partition(" ")[2]) for line in lines if line and not line.startswith("#")} or {""}


def _aside(key: Path) -> Path:
    return key.with_name(key.name + NEXT)


def _public(key: Path) -> str:
    return plain_key(read_text(f"{key}.pub") or "")
